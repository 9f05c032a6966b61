//! The service as a process of its own, killed in the middle of a run that goes on in KFP.

use kfops_kfp_standin::Standin;
use kfops_proto::pipeline as pb;
use kfops_store::Store;
use serde_json::json;
use std::time::Duration;

use super::{PIPELINE, kfp, runs::seconds};
use crate::{
    harness::{settings, version_request},
    restart::start,
};

#[tokio::test]
async fn a_run_goes_on_in_kfp_while_the_service_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = tempfile::tempdir().unwrap();
    let standin = Standin::over_folder(bucket.path(), &[]).await.unwrap();
    let kfp = serde_json::to_string(&kfp(standin.url(), &bucket)).unwrap();
    let kfp = format!("kfp={kfp}");
    let store = Store::open(&settings(folder.path()).store).unwrap();
    let (mut service, mut clients) = start(folder.path(), 1, &[&kfp]).await;
    let version = version_request(&store, "p.py", &[("p.py", PIPELINE)]).await;
    clients.create_version("v-1", version, None).await.unwrap();
    assert_eq!(clients.version("v-1").await.state(), pb::State::Succeeded);

    // Killed while a task runs.
    let run =
        pb::Run { pipeline_version: "pipelineVersions/v-1".into(), arguments: seconds(2.0), ..Default::default() };
    clients.create_run("r-1", run.clone(), None).await.unwrap();
    clients.run_until("r-1", |run| run.tasks.iter().any(|task| task.state() == pb::State::Running)).await;
    service.kill().await;

    // Killed while the request that makes the run is under way.
    let (mut service, mut clients) = start(folder.path(), 2, &[&kfp]).await;
    let done = clients.run("r-1").await;
    assert_eq!((done.state(), done.attempt, done.tasks.len()), (pb::State::Succeeded, 1, 2), "{:?}", done.failure);
    assert_eq!(store.get("models/r-1/model.txt").await.unwrap(), "trained");
    let slow = json!([{"method": "POST", "path": "/runs$", "do": "slow:1.5", "place": "after"}]);
    standin.faults(slow, json!({})).await.unwrap();
    clients.create_run("r-2", run.clone(), None).await.unwrap();
    until(&standin, 2).await;
    service.kill().await;

    // Canceled, and killed before it reached KFP.
    let (mut service, mut clients) = start(folder.path(), 3, &[&kfp]).await;
    let done = clients.run("r-2").await;
    assert_eq!((done.state(), done.attempt), (pb::State::Succeeded, 1), "{:?}", done.failure);
    let run = pb::Run { arguments: seconds(600.0), ..run };
    clients.create_run("r-3", run, None).await.unwrap();
    clients.run_until("r-3", |run| run.tasks.iter().any(|task| task.state() == pb::State::Running)).await;
    standin.faults(json!([{"path": "/runs", "do": "503", "times": 100_000}]), json!({})).await.unwrap();
    clients.runs.cancel_run(pb::CancelRunRequest { name: "runs/r-3".into() }).await.unwrap();
    service.kill().await;
    standin.faults(json!([]), json!({})).await.unwrap();
    let (mut service, mut clients) = start(folder.path(), 4, &[&kfp]).await;
    assert_eq!(clients.run("r-3").await.state(), pb::State::Canceled);

    let workflows = standin.workflows().await.unwrap();
    let ended: Vec<(bool, &str)> = workflows.iter().map(|workflow| (workflow.live, workflow.phase.as_str())).collect();
    assert_eq!(ended, [(false, "Succeeded"), (false, "Succeeded"), (false, "Failed")], "{workflows:?}");
    service.terminate(Duration::from_secs(10)).await;
}

async fn until(standin: &Standin, workflows: usize) {
    let look = async {
        while standin.workflows().await.unwrap().len() < workflows {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::harness::PATIENCE, look).await.expect("it is made in time");
}
