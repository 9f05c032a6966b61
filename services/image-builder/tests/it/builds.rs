//! Images that are built, found again, tagged.

use kfops_proto::build::{Build, CreateBuildRequest, ImageSpec, TagBuildRequest};

use crate::world::{World, eventually, image, unique};

fn pair(trainer: &str) -> Vec<(&'static str, String)> {
    vec![
        (
            "images/trainer/Dockerfile",
            format!(
                "FROM python:3.11-slim\nARG GREETING=none\nCOPY lib /app/lib\nRUN : {trainer} && python -c \"import sys; sys.path.insert(0, '/app/lib'); import tool; print(tool.NAME, '$GREETING')\" && pip --version\n"
            ),
        ),
        (
            "images/client/Dockerfile",
            format!("FROM debian:bookworm-slim\nCOPY run.sh /run.sh\nRUN /run.sh {trainer}\n"),
        ),
        ("images/client/run.sh!", "#!/bin/sh\ntest -x /run.sh && echo ran\n".into()),
        ("shared/lib/tool.py", "NAME = 'tool'\n".into()),
    ]
}

fn images() -> Vec<ImageSpec> {
    let trainer = ImageSpec {
        include: vec!["shared/lib".into()],
        build_args: [("GREETING".to_owned(), "hello; $(touch /tmp/x)".to_owned())].into(),
        ..image("trainer", "images/trainer")
    };
    vec![trainer, image("client", "images/client")]
}

fn borrowed<'a>(files: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    files.iter().map(|(path, text)| (*path, text.as_str())).collect()
}

#[tokio::test]
async fn unchanged_images_are_not_built_again() {
    let world = World::new().await;
    let service = world.start().await;
    let mut files = pair(&unique(world.folder.path()));
    let source = world.source(&borrowed(&files)).await;

    // Two images at the same time, with an included folder and a build argument.
    service.create("b-1", &source, images()).await;
    let first = service.succeeded("b-1").await;
    let log = world.log(&first.results[0]).await;
    assert!(log.contains("tool hello; $(touch /tmp/x)"), "{log}");
    assert!(first.results.iter().all(|r| !r.reused));
    let (start, end) = (first.results[1].start_time.unwrap(), first.results[0].end_time.unwrap());
    assert!((start.seconds, start.nanos) < (end.seconds, end.nanos), "one after the other");
    let reference = first.results[0].image.clone().unwrap();
    assert_eq!(reference.repository, format!("{}/o/n/trainer", world.registry.host()));
    // build, two images, four steps each.
    eventually("all spans are recorded", || service.tracer.recorded() == 11).await;

    // Asking twice is asking once.
    assert_eq!(service.create("b-1", &source, images()).await, first);

    // The same again.
    service.create("b-2", &source, images()).await;
    let second = service.succeeded("b-2").await;
    assert!(second.results.iter().all(|r| r.reused), "{second:#?}");
    assert_eq!(second.results[0].image, first.results[0].image);

    // One file more: only its image is built.
    files.push(("images/client/more", "x".into()));
    let source = world.source(&borrowed(&files)).await;
    service.create("b-3", &source, images()).await;
    let third = service.succeeded("b-3").await;
    assert!(third.results[0].reused && !third.results[1].reused, "{third:#?}");
    assert_ne!(third.results[1].content_digest, first.results[1].content_digest);

    // Without our database the registry still knows.
    service.kill();
    std::fs::remove_dir_all(&world.settings.state).unwrap();
    let service = world.start().await;
    service.create("b-4", &source, images()).await;
    let fourth = service.succeeded("b-4").await;
    assert!(fourth.results.iter().all(|r| r.reused), "{fourth:#?}");

    // One more name for the same manifests, as often as one likes.
    let tag = TagBuildRequest { name: "builds/b-4".into(), tag: "v1".into() };
    for _ in 0..2 {
        let tagged = service.client.clone().tag_build(tag.clone()).await.unwrap().into_inner();
        assert_eq!(tagged.tags, ["v1"]);
    }
    let digest = world.registry.tag("o/n/client", "v1").unwrap();
    assert_eq!(digest.as_str(), fourth.results[1].image.as_ref().unwrap().digest);
}

#[tokio::test]
async fn pip_in_a_build_reaches_what_pip_outside_reaches() {
    let world = World::new().await;
    let service = world.start().await;
    let dockerfile = format!(
        "FROM python:3.11-slim\nRUN : {} && pip install --no-cache-dir six==1.17.0 && python -c 'import six; print(\"six\", six.__version__)'\n",
        unique(world.folder.path())
    );
    let source = world.source(&[("i/Dockerfile", &dockerfile)]).await;
    service.create("b-1", &source, vec![image("i", "i")]).await;
    let build = service.succeeded("b-1").await;
    let log = world.log(&build.results[0]).await;
    assert!(log.contains("six 1.17.0"), "{log}");
}

#[tokio::test]
async fn one_registry_can_keep_the_images_of_all() {
    let mut world = World::new().await;
    world.settings.embedded_registry.for_all = true;
    let service = world.start().await;
    let source = world.source(&[("i/Dockerfile", "FROM scratch\nCOPY Dockerfile /x\n")]).await;
    let build = Build {
        source: Some(source),
        registry: "registry.example.com:8443/team".into(),
        images: vec![image("i", "i")],
        ..Build::default()
    };
    let request = CreateBuildRequest { build: Some(build), build_id: "b-1".into(), ..Default::default() };
    service.client.clone().create_build(request).await.unwrap();
    let built = service.succeeded("b-1").await;
    // It is called what the repository calls it, and lies in the embedded registry.
    let image = built.results[0].image.clone().unwrap();
    assert_eq!(image.repository, "registry.example.com:8443/team/i");
    let tag = TagBuildRequest { name: "builds/b-1".into(), tag: "v1".into() };
    service.client.clone().tag_build(tag).await.unwrap();
    let kept = world.registry.tag("registry.example.com-8443/team/i", "v1").unwrap();
    assert_eq!(kept.as_str(), image.digest);
}
