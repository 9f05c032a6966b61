//! The service as a process: missing builders, SIGKILL, SIGTERM.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use kfops_proto::{
    build::{
        Build, CancelBuildRequest, CreateBuildRequest, GetBuildRequest, State, build_service_client::BuildServiceClient,
    },
    common::Reason,
};
use tonic::transport::Channel;

use crate::world::{World, eventually, image, unique};

/// The program, ended with the test.
struct Process {
    child: Child,
    client: BuildServiceClient<Channel>,
}

impl Process {
    fn start(world: &World, path: Option<&Path>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kfops-image-builder"));
        let folder = world.folder.path();
        let values = [
            "listen=127.0.0.1:0".to_owned(),
            "embedded_registry.listen=127.0.0.1:0".into(),
            "local.stand_in=always".into(),
            format!("embedded_registry.folder={}", folder.join("process-registry").display()),
            format!("state={}", folder.join("process-state").display()),
            format!("store={}", world.settings.store),
        ];
        for value in values {
            command.args(["--set", &value]);
        }
        if let Some(path) = path {
            command.env("PATH", path);
        }
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines
            .find_map(|line| {
                let line: serde_json::Value = serde_json::from_str(&line.unwrap()).ok()?;
                (line["message"] == "listening").then(|| line["address"].as_str().unwrap().to_owned())
            })
            .unwrap();
        // A full pipe would hold the service up.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, client: BuildServiceClient::new(kfops_rpc::connect(&format!("http://{address}")).unwrap()) }
    }

    async fn create(&self, build: Build) {
        let request = CreateBuildRequest { build: Some(build), build_id: "b-1".into(), ..Default::default() };
        self.client.clone().create_build(request).await.unwrap();
    }

    async fn ended(&self) -> Build {
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        loop {
            let request = GetBuildRequest { name: "builds/b-1".into() };
            let build = self.client.clone().get_build(request).await.unwrap().into_inner();
            if build.end_time.is_some() {
                return build;
            }
            assert!(std::time::Instant::now() < deadline, "{build:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test]
async fn without_a_builder_it_says_what_it_tried_and_what_to_install() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new().await;
    let programs = world.folder.path().join("programs");
    std::fs::create_dir(&programs).unwrap();
    let docker = programs.join("docker");
    std::fs::write(&docker, "#!/bin/sh\necho 'Cannot connect to the daemon' >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&docker, std::fs::Permissions::from_mode(0o755)).unwrap();
    let process = Process::start(&world, Some(&programs));
    let source = world.source(&[("i/Dockerfile", "FROM scratch\n")]).await;
    process.create(Build { source: Some(source), images: vec![image("i", "i")], ..Build::default() }).await;
    let failure = process.ended().await.failure.unwrap();
    assert_eq!(failure.reason(), Reason::BuilderMissing, "{failure:?}");
    for part in ["buildctl: ", "buildah: ", "podman: ", "docker: exit code 1 Cannot connect to the daemon"] {
        assert!(failure.message.contains(part), "{}", failure.message);
    }
    assert!(failure.action.contains("install buildah"));
}

#[tokio::test]
async fn nothing_outlives_a_sigkill_and_the_next_process_goes_on() {
    let world = World::new().await;
    let process = Process::start(&world, None);
    let script = format!("wait-{}.sh", unique(world.folder.path()));
    let dockerfile = format!("FROM python:3.11-slim\nCOPY {script} /\nRUN sh /{script}\n");
    let path = format!("i/{script}");
    let source = world.source(&[("i/Dockerfile", &dockerfile), (&path, "sleep 1000 &\nsleep 1000\n")]).await;
    process.create(Build { source: Some(source), images: vec![image("i", "i")], ..Build::default() }).await;
    let runs = || {
        let pattern = format!("^sh /{script}$");
        Command::new("pgrep").args(["-f", &pattern]).output().unwrap().status.success()
    };
    eventually("the step runs", runs).await;
    drop(process);
    eventually("the step is gone", || !runs()).await;

    let mut process = Process::start(&world, None);
    eventually("the step runs again", runs).await;
    process.client.cancel_build(CancelBuildRequest { name: "builds/b-1".into() }).await.unwrap();
    assert_eq!(process.ended().await.state(), State::Canceled);
    assert!(!runs());
    let pid = process.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let mut status = None;
    eventually("it ends", || {
        status = process.child.try_wait().unwrap();
        status.is_some()
    })
    .await;
    assert!(status.unwrap().success());
}
