//! Steps of a Dockerfile that try to leave their container.

use crate::world::{World, image, unique};

/// Climbs out of a chroot, if it may make one, then says what it finds.
const CLIMB: &str = r#"import os, sys
try:
    os.makedirs('/x', exist_ok=True)
    fd = os.open('/', 0)
    os.chroot('/x')
    os.fchdir(fd)
    for _ in range(40):
        os.chdir('..')
    os.chroot('.')
    print('climbed', os.listdir('/'))
except OSError as error:
    print('not climbed', error)
for path in sys.argv[1:]:
    try:
        print('READ', open(path).read())
    except OSError as error:
        print('unreadable', error)
"#;

#[tokio::test]
async fn a_step_does_not_reach_the_files_of_the_machine() {
    let world = World::new().await;
    let folder = world.folder.path().display();
    let secret = world.folder.path().join("secrets.json");
    std::fs::write(&secret, "the-secret-of-the-host").unwrap();
    let secret = secret.display().to_string();
    let service = world.start().await;
    let unique = unique(world.folder.path());
    let climb =
        format!("FROM python:3.11-slim\nCOPY climb.py /climb.py\nRUN : {unique} && python /climb.py {secret}\n");
    // A stage that comes from the cache as a whole would not be mounted.
    let links = format!(
        "FROM python:3.11-slim AS a\nRUN : {unique}; ln -s / /rootlink && ln -s /usr /usrlink && ln -s /proc/sys /kernellink\n"
    );
    let mount = |source: &str, step: &str| {
        format!("RUN --mount=type=bind,from=a,source={source},target=/mnt,rw : {unique}; {step}; true\n")
    };
    let mounted = [
        links,
        "FROM python:3.11-slim\n".into(),
        mount("/rootlink", &format!("ls -d /mnt/usr; cat /mnt{secret}; find /mnt{folder} -maxdepth 3")),
        mount("/rootlink", "touch /mnt/here && echo WRITTEN"),
        mount("/usrlink", "touch /mnt/kfops-escape && echo WRITTEN"),
        mount("/kernellink", "test -w /mnt/kernel/core_pattern && echo WRITTEN"),
    ]
    .concat();
    let source =
        world.source(&[("climb/Dockerfile", &climb), ("climb/climb.py", CLIMB), ("mount/Dockerfile", &mounted)]).await;
    service.create("b-1", &source, vec![image("climb", "climb"), image("mount", "mount")]).await;
    let build = service.succeeded("b-1").await;

    let climbed = world.log(&build.results[0]).await;
    assert!(climbed.contains("not climbed") && climbed.contains("unreadable"), "{climbed}");
    assert!(!climbed.contains("the-secret-of-the-host"), "{climbed}");
    let mounted = world.log(&build.results[1]).await;
    // The link was followed: what it shows is not the machine.
    assert!(mounted.lines().any(|line| line == "/mnt/usr"), "{mounted}");
    assert!(!mounted.contains("the-secret-of-the-host"), "{mounted}");
    let seen: Vec<&str> = mounted.lines().filter_map(|line| line.strip_prefix(&format!("/mnt{folder}/"))).collect();
    assert!(seen.contains(&"state/work") && seen.iter().all(|path| "state/work/b-1".contains(path)), "{seen:?}");
    assert!(!mounted.lines().any(|line| line == "WRITTEN"), "{mounted}");
}
