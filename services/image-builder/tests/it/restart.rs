//! Killed in the middle, started again.

use kfops_proto::build::{CancelBuildRequest, State};

use crate::world::{World, eventually, image, unique};

#[tokio::test]
async fn a_killed_build_goes_on_and_finished_images_stay() {
    let world = World::new().await;
    let service = world.start().await;
    let source = source(&world).await;
    service.create("b-1", &source, vec![image("fast", "fast"), image("slow", "slow")]).await;
    let before = service.until("b-1", |build| build.results[0].state() == State::Succeeded).await;
    eventually("the second image's step runs", || waits(&world)).await;
    service.kill();
    eventually("the step is gone", || !waits(&world)).await;

    let service = world.start().await;
    eventually("the step runs again", || waits(&world)).await;
    let between = service.get("b-1").await;
    assert_eq!(between.results[0], before.results[0], "built again");
    open_gate(&world, &before.results[0].image.as_ref().unwrap().digest).await;
    let after = service.succeeded("b-1").await;
    assert_eq!(after.results[0], before.results[0]);
    assert_eq!(after.results[1].start_time, between.results[1].start_time);
    eventually("no container stays", || world.containers().is_empty()).await;
}

#[tokio::test]
async fn a_stopped_service_leaves_builds_for_the_next_one() {
    let world = World::new().await;
    let service = world.start().await;
    let source = source(&world).await;
    service.create("b-1", &source, vec![image("slow", "slow")]).await;
    eventually("the step runs", || waits(&world)).await;
    assert!(!service.lifecycle.finish(std::time::Duration::from_millis(100)).await, "it ended by itself");
    eventually("the step is gone", || !waits(&world)).await;

    let service = world.start().await;
    assert_eq!(service.get("b-1").await.state(), State::Running);
    service.client.clone().cancel_build(CancelBuildRequest { name: "builds/b-1".into() }).await.unwrap();
    assert_eq!(service.ended("b-1").await.state(), State::Canceled);
    eventually("the step is gone", || !waits(&world)).await;
}

/// `slow` has a step that waits for a tag to appear in the registry: builds see the machine's loopback device, but not its files.
async fn source(world: &World) -> kfops_proto::common::SourceArchive {
    let script = format!("wait-{}.py", unique(world.folder.path()));
    let dockerfile = format!("FROM python:3.11-slim\nCOPY {script} /{script}\nRUN python /{script}\n");
    let url = format!("http://{}/v2/o/n/fast/manifests/gate", world.registry.host());
    let wait = format!(
        "import time, urllib.error, urllib.request\nwhile True:\n    try:\n        urllib.request.urlopen('{url}')\n        break\n    except urllib.error.URLError:\n        time.sleep(0.1)\n"
    );
    let script = format!("slow/{script}");
    let files =
        [("fast/Dockerfile", "FROM scratch\nCOPY Dockerfile /x\n"), ("slow/Dockerfile", &dockerfile), (&script, &wait)];
    world.source(&files).await
}

fn waits(world: &World) -> bool {
    let pattern = format!("^python /wait-{}.py$", unique(world.folder.path()));
    std::process::Command::new("pgrep").args(["-f", &pattern]).output().unwrap().status.success()
}

async fn open_gate(world: &World, digest: &str) {
    let client = reqwest::Client::new();
    let url = format!("http://{}/v2/o/n/fast/manifests", world.registry.host());
    let manifest = client.get(format!("{url}/{digest}")).send().await.unwrap().bytes().await.unwrap();
    let put = client
        .put(format!("{url}/gate"))
        .header("content-type", "application/vnd.oci.image.manifest.v1+json")
        .body(manifest)
        .send()
        .await
        .unwrap();
    assert_eq!(put.status().as_u16(), 201);
}
