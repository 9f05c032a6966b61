//! What KFP and the way to it do wrong. Whatever it is, nothing runs twice.

use kfops_core::{Failure, Reason};
use kfops_proto::pipeline as pb;
use kfops_rpc::failure_from_proto;
use serde_json::{Value, json};

use super::{Cluster, PIPELINE, runs::seconds};

/// A run under these rules.
async fn under(rules: Value) -> (Cluster, pb::Run) {
    let mut cluster = Cluster::with(&[], |kfp| kfp.request_timeout = kfops_settings::HumanDuration::from_secs(1)).await;
    cluster.rules(rules).await;
    let run = cluster.runner.run(PIPELINE, pb::Run { arguments: seconds(0.2), ..Default::default() }).await;
    (cluster, run)
}

fn failure(run: &pb::Run) -> Failure {
    failure_from_proto(run.failure.clone().unwrap())
}

#[tokio::test]
async fn a_run_that_was_made_without_a_good_answer_is_found_and_not_made_again() {
    for fault in ["500", "503", "502", "504", "html", "hang", "reset"] {
        let (cluster, run) = under(json!([{"method": "POST", "path": "/runs$", "do": fault, "place": "after"}])).await;
        assert_eq!(run.state(), pb::State::Succeeded, "{fault}: {:?}", run.failure);
        assert_eq!(cluster.workflow().await.tasks, ["finish", "train"], "{fault}");
    }
}

#[tokio::test]
async fn every_other_request_may_fail_for_a_while() {
    let (cluster, run) = under(json!([
        {"path": "/healthz", "do": "503"},
        {"method": "GET", "path": "/runs/", "do": "503", "times": 3},
        {"method": "GET", "path": "/experiments", "do": "reset", "times": 2},
        {"method": "POST", "path": "/experiments", "do": "503", "place": "after"},
        {"method": "GET", "path": "/pipelines$", "do": "html", "times": 2},
        {"method": "POST", "path": "/pipelines/upload$", "do": "500", "place": "after"},
        {"method": "GET", "path": "/versions", "do": "hang"},
        {"method": "POST", "path": "/pipelines/upload_version", "do": "reset", "place": "after"},
        {"method": "GET", "path": "/runs/", "do": "500", "times": 5},
    ]))
    .await;
    assert_eq!(run.state(), pb::State::Succeeded, "{:?}", run.failure);
    cluster.workflow().await;
}

#[tokio::test]
async fn a_workflow_without_a_run_is_named_and_left_alone() {
    let mut cluster = Cluster::start(&[]).await;
    cluster.switch("row_fails").await;
    let run = cluster.runner.run(PIPELINE, pb::Run::default()).await;
    let failure = failure(&run);
    assert_eq!(failure.reason, Reason::ClusterUnavailable);
    let id = cluster.workflow().await.run_id;
    assert!(failure.message.contains(&id) && failure.message.contains("may have started its workflow"), "{failure:?}");
    assert!(failure.action.contains(&format!("pipeline/runid={id}")), "{failure:?}");
}

#[tokio::test]
async fn a_refused_run_says_why() {
    let (_cluster, run) =
        under(json!([{"method": "POST", "path": "/pipelines/upload$", "do": "400", "times": 99}])).await;
    let failure = failure(&run);
    assert_eq!(failure.reason, Reason::ClusterRefused);
    assert!(failure.message.contains("lack of rights"), "{failure:?}");
    let (_cluster, run) =
        under(json!([{"method": "POST", "path": "/pipelines/upload$", "do": "500", "times": 99}])).await;
    assert!(self::failure(&run).message.contains("four bytes"), "{run:?}");
}

async fn canceled_while_running(cluster: &mut Cluster, fault: impl AsyncFnOnce(&Cluster)) -> pb::Run {
    let version = cluster.runner.compile("p.py", &[("p.py", PIPELINE)]).await;
    let run = pb::Run { pipeline_version: version.name, arguments: seconds(600.0), ..Default::default() };
    cluster.runner.clients.create_run("r-1", run, None).await.unwrap();
    cluster
        .runner
        .clients
        .run_until("r-1", |run| run.tasks.iter().any(|task| task.state() == pb::State::Running))
        .await;
    fault(cluster).await;
    cluster.runner.clients.runs.cancel_run(pb::CancelRunRequest { name: "runs/r-1".into() }).await.unwrap();
    cluster.runner.clients.run("r-1").await
}

#[tokio::test]
async fn a_terminate_that_never_ends_is_said() {
    for switch in ["terminate_never_ends", "workflow_gone"] {
        let short =
            |kfp: &mut kfops_pipeline_runner::KfpSettings| kfp.terminate = kfops_settings::HumanDuration::from_secs(1);
        let mut cluster = Cluster::with(&["--gone", "0.3"], short).await;
        let run = canceled_while_running(&mut cluster, async |cluster| cluster.switch(switch).await).await;
        assert_eq!((run.state(), run.tasks[0].state()), (pb::State::Canceled, pb::State::Canceled), "{run:?}");
        let failure = failure(&run);
        let id = cluster.workflow().await.run_id;
        assert!(
            failure.message.contains(&id) && failure.message.contains("may still be running"),
            "{switch}: {failure:?}"
        );
        assert!(failure.action.contains("kubectl get workflows"), "{failure:?}");
    }
}

#[tokio::test]
async fn a_cancel_reaches_a_kfp_that_was_away() {
    let mut cluster = Cluster::start(&[]).await;
    let away = json!([{"path": "/runs", "do": "503", "times": 10}]);
    let run = canceled_while_running(&mut cluster, async |cluster| cluster.rules(away.clone()).await).await;
    assert_eq!(run.state(), pb::State::Canceled, "{run:?}");
    assert!(!cluster.workflow().await.live);
}

#[tokio::test]
async fn a_run_that_was_deleted_in_kfp_fails() {
    let mut cluster = Cluster::start(&[]).await;
    let version = cluster.runner.compile("p.py", &[("p.py", PIPELINE)]).await;
    let run = pb::Run { pipeline_version: version.name, arguments: seconds(600.0), ..Default::default() };
    cluster.runner.clients.create_run("r-1", run, None).await.unwrap();
    cluster.until(|workflows| workflows.iter().any(|workflow| !workflow.tasks.is_empty())).await;
    let id = cluster.workflow().await.run_id;
    let url = format!("{}/apis/v2beta1/runs/{id}", cluster.standin.url());
    reqwest::Client::new().delete(url).send().await.unwrap().error_for_status().unwrap();
    let run = cluster.runner.clients.run("r-1").await;
    assert!(failure(&run).message.contains("was deleted in KFP"), "{run:?}");
}
