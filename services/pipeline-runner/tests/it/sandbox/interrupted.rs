//! Cancellations, deleted pods, killed services.

use std::time::Duration;

use kfops_proto::pipeline as pb;
use kfops_store::Store;
use kube::{ResourceExt as _, api::DeleteParams};

use super::World;
use crate::{
    harness::{Clients, version_request},
    restart::start_with,
};

/// Takes a while once, as far as it can tell.
const SLOW: &str = r#"
import time
from kfp import dsl
print("begun", flush=True)
time.sleep(6)

@dsl.component(base_image="kfops://trainer", install_kfp_package=False)
def train():
    pass

@dsl.pipeline(name="tiny")
def tiny():
    train()
"#;

#[tokio::test]
async fn a_canceled_compilation_leaves_nothing() {
    let Some(world) = World::new(true).await else { return };
    let mut runner = world.runner(|_| {}).await;
    let version = runner.request("p.py", &[("p.py", &SLOW.replace("sleep(6)", "sleep(600)"))]).await;
    runner.clients.create_version("v-1", version, None).await.unwrap();
    world.running("compile").await;
    let name = "pipelineVersions/v-1".to_owned();
    runner.clients.versions.cancel_pipeline_version(pb::CancelPipelineVersionRequest { name }).await.unwrap();
    assert_eq!(runner.clients.version("v-1").await.state(), pb::State::Canceled);
    assert!(world.jobs().await.is_empty() && world.pods().await.is_empty());
}

#[tokio::test]
async fn a_pod_that_is_deleted_is_replaced() {
    let Some(world) = World::new(true).await else { return };
    let mut runner = world.runner(|_| {}).await;
    let version = runner.request("p.py", &[("p.py", SLOW)]).await;
    runner.clients.create_version("v-1", version, None).await.unwrap();
    for _ in 0..2 {
        let pod = world.running("compile").await;
        world.api::<k8s_openapi::api::core::v1::Pod>().delete(&pod, &DeleteParams::default()).await.unwrap();
    }
    let version = runner.clients.version("v-1").await;
    assert_eq!(version.state(), pb::State::Succeeded, "{:?}", version.failure);
}

#[tokio::test]
async fn a_killed_service_takes_up_the_job_that_it_began() {
    let Some(world) = World::new(true).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let settings = world.settings(&folder);
    let store = Store::open(&settings.store).unwrap();
    let (mut service, mut clients): (_, Clients) = start_with(&settings, folder.path(), 1).await;
    let version = version_request(&store, "p.py", &[("p.py", SLOW)]).await;
    clients.create_version("v-1", version, None).await.unwrap();
    world.running("compile").await;
    let before: Vec<String> = world.jobs().await.iter().map(|job| job.uid().unwrap()).collect();
    service.kill().await;
    let (mut service, mut clients) = start_with(&settings, folder.path(), 2).await;
    let version = clients.version("v-1").await;
    assert_eq!(version.state(), pb::State::Succeeded, "{:?}", version.failure);
    let after: Vec<String> = world.jobs().await.iter().map(|job| job.uid().unwrap()).collect();
    assert_eq!(before, after);
    assert_eq!(store.get("logs/pipelineVersions/v-1.log").await.unwrap(), "begun\n");

    // Before the pod has its source.
    let version = version_request(&store, "p.py", &[("p.py", SLOW)]).await;
    clients.create_version("v-2", version, None).await.unwrap();
    world.until("a second job", async || world.jobs().await.len() == 2).await;
    service.kill().await;
    let (mut service, mut clients) = start_with(&settings, folder.path(), 3).await;
    let version = clients.version("v-2").await;
    assert_eq!(version.state(), pb::State::Succeeded, "{:?}", version.failure);
    service.terminate(Duration::from_secs(10)).await;
}
