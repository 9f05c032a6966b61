//! What works, and what fails by itself.

use std::{collections::HashMap, time::Duration};

use kfops_core::Reason;
use kfops_proto::pipeline as pb;
use kfops_rpc::failure_from_proto;
use prost_types::{Value, value::Kind};
use serde_json::json;

use super::{Cluster, PIPELINE};
use crate::harness::{COMMIT, pinned};

pub(super) fn seconds(seconds: f64) -> HashMap<String, Value> {
    HashMap::from([("seconds".to_owned(), Value { kind: Some(Kind::NumberValue(seconds)) })])
}

async fn succeeds(arguments: &[&str], metrics: HashMap<String, f64>) {
    let mut cluster = Cluster::start(arguments).await;
    let run = cluster.runner.run(PIPELINE, pb::Run { arguments: seconds(0.5), ..Default::default() }).await;
    assert_eq!(run.state(), pb::State::Succeeded, "{:?}", run.failure);
    let names: Vec<&str> = run.tasks.iter().map(|task| task.name.as_str()).collect();
    assert_eq!(names, ["train", "finish"]);
    assert!(run.tasks.iter().all(|task| task.state() == pb::State::Succeeded), "{:?}", run.tasks);
    assert_eq!(run.tasks[0].image, pinned("trainer"));
    assert_eq!((run.commit.as_str(), run.attempt), (COMMIT, 1));
    // KFP's times are whole seconds, and lie within the run's.
    let second = |time: &Option<prost_types::Timestamp>| time.as_ref().map(|time| time.seconds).unwrap();
    for task in &run.tasks {
        assert!(
            second(&run.create_time) <= second(&task.start_time) && second(&task.start_time) <= second(&task.end_time)
        );
        assert!(second(&task.end_time) <= second(&run.end_time));
    }
    assert_eq!(run.metrics, metrics);
    let model = run.model.unwrap();
    assert_eq!((model.uri, model.size_bytes), (cluster.runner.store.uri("models/r-1"), 7));
    assert_eq!(cluster.runner.text("models/r-1/model.txt").await, "trained");
    // KFP's executor writes more than the task does.
    assert!(cluster.runner.text(&run.tasks[0].log_key).await.lines().any(|line| line == "training"));
    assert!(cluster.runner.text(&run.log_key).await.contains("[finish] trained"));
    assert_eq!(cluster.workflow().await.phase, "Succeeded");
    let left = cluster.runner.folder.path().join("state/kfp");
    // Removed once the end is kept, which is when it is told.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while std::fs::read_dir(&left).unwrap().count() > 0 {
        assert!(tokio::time::Instant::now() < deadline, "{} is not empty", left.display());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_run_of_2_17_keeps_its_model_and_logs() {
    // Metrics are in ML Metadata alone.
    succeeds(&[], HashMap::new()).await;
    succeeds(&["--metadata", "127.0.0.1:0"], HashMap::from([("accuracy".to_owned(), 0.5)])).await;
}

#[tokio::test]
async fn a_run_of_the_next_release_keeps_metrics_too() {
    succeeds(&["--next"], HashMap::from([("accuracy".to_owned(), 0.5)])).await;
}

#[tokio::test]
async fn a_failing_task_is_named_with_its_last_words() {
    for arguments in [&[][..], &["--next"]] {
        let mut cluster = Cluster::start(arguments).await;
        let fail = HashMap::from([("fail".to_owned(), Value { kind: Some(Kind::BoolValue(true)) })]);
        let run = cluster.runner.run(PIPELINE, pb::Run { arguments: fail, ..Default::default() }).await;
        assert_eq!(run.state(), pb::State::Failed, "{run:?}");
        let states: Vec<(&str, pb::State)> = run.tasks.iter().map(|task| (task.name.as_str(), task.state())).collect();
        assert_eq!(states, [("train", pb::State::Failed), ("finish", pb::State::Skipped)]);
        let failure = failure_from_proto(run.failure.unwrap());
        assert_eq!(failure.reason, Reason::TaskFailed);
        assert!(failure.message.starts_with("task `train` failed: "), "{}", failure.message);
        assert!(failure.log_tail.contains("no luck"), "{}", failure.log_tail);
    }
}

#[tokio::test]
async fn a_canceled_run_ends_in_kfp_too() {
    let mut cluster = Cluster::start(&[]).await;
    let version = cluster.runner.compile("p.py", &[("p.py", PIPELINE)]).await;
    let run = pb::Run { pipeline_version: version.name, arguments: seconds(600.0), ..Default::default() };
    cluster.runner.clients.create_run("r-1", run, None).await.unwrap();
    let running = |run: &pb::Run| run.tasks.iter().any(|task| task.state() == pb::State::Running);
    let open = cluster.runner.clients.run_until("r-1", running).await;
    assert_eq!(open.tasks.len(), 2);
    cluster.runner.clients.runs.cancel_run(pb::CancelRunRequest { name: "runs/r-1".into() }).await.unwrap();
    let run = cluster.runner.clients.run("r-1").await;
    // KFP calls it failed.
    assert_eq!((run.state(), run.tasks[0].state()), (pb::State::Canceled, pb::State::Canceled), "{run:?}");
    let workflow = cluster.workflow().await;
    assert!(!workflow.live && workflow.phase == "Failed", "{workflow:?}");
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_ended() {
    let mut cluster = Cluster::start(&[]).await;
    let timeout = Some(prost_types::Duration { seconds: 15, nanos: 0 });
    let run = pb::Run { timeout, arguments: seconds(600.0), ..Default::default() };
    let run = cluster.runner.run(PIPELINE, run).await;
    let failure = failure_from_proto(run.failure.unwrap());
    assert_eq!(failure.reason, Reason::RunTimeout);
    assert!(failure.message.contains("still running: train"), "{}", failure.message);
    assert!(!cluster.workflow().await.live);
}

#[tokio::test]
async fn names_that_kfp_cannot_keep_are_made_safe() {
    let mut cluster = Cluster::start(&[]).await;
    let mut version = cluster.runner.request("p.py", &[("p.py", PIPELINE)]).await;
    version.pipeline = format!("🎉 {}", "ä".repeat(55));
    cluster.runner.clients.create_version("v-1", version, None).await.unwrap();
    let version = cluster.runner.clients.version("v-1").await;
    for (id, experiment) in [("r-1", "x".repeat(300)), ("r-2", "a\u{202e}b\n🎊".into())] {
        let run = pb::Run { pipeline_version: version.name.clone(), experiment, ..Default::default() };
        cluster.runner.clients.create_run(id, run, None).await.unwrap();
        let run = cluster.runner.clients.run(id).await;
        assert_eq!(run.state(), pb::State::Succeeded, "{:?}", run.failure);
    }
    assert_eq!(cluster.workflows().await.len(), 2);
}

#[tokio::test]
async fn a_token_is_shown_and_read_anew_and_refusals_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    let tokens = json!({"good": {"user": "sa", "audiences": ["pipelines.kubeflow.org"]}, "other": {"user": "sa", "audiences": ["x"]}});
    let rights = json!({"sa": ["alice"]});
    let (tokens, rights) = (tokens.to_string(), rights.to_string());
    let arguments = ["--multi-user", "--tokens", &tokens, "--rights", &rights];
    std::fs::write(&token, "other\n").unwrap();
    let path = token.clone();
    let mut cluster = Cluster::with(&arguments, |kfp| {
        kfp.namespace = Some("alice".into());
        kfp.token = Some(path);
    })
    .await;
    let version = cluster.runner.compile("p.py", &[("p.py", PIPELINE)]).await;
    for (number, (text, reason)) in
        [("other", Some(Reason::Unauthenticated)), ("unknown", Some(Reason::Unauthenticated)), ("good", None)]
            .into_iter()
            .enumerate()
    {
        std::fs::write(&token, text).unwrap();
        let id = format!("r-{number}");
        let run = pb::Run { pipeline_version: version.name.clone(), ..Default::default() };
        cluster.runner.clients.create_run(&id, run, None).await.unwrap();
        let failure = cluster.runner.clients.run(&id).await.failure.map(failure_from_proto);
        assert_eq!(failure.as_ref().map(|failure| failure.reason), reason, "{text}: {failure:?}");
        assert!(failure.is_none_or(|failure| failure.action.contains("audience")));
    }
    assert_eq!(cluster.workflows().await.len(), 1);
}

#[tokio::test]
async fn without_rights_or_namespace_it_says_so() {
    for (rights, namespace, reason) in [
        (json!({"sa": []}), Some("alice"), Reason::PermissionDenied),
        (json!({"sa": ["alice"]}), None, Reason::InvalidArgument),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, "good").unwrap();
        let tokens = json!({"good": {"user": "sa", "audiences": ["pipelines.kubeflow.org"]}}).to_string();
        let rights = rights.to_string();
        let bucket = tempfile::tempdir().unwrap();
        let arguments = ["--multi-user", "--tokens", &tokens, "--rights", &rights];
        let standin = kfops_kfp_standin::Standin::over_folder(bucket.path(), &arguments).await.unwrap();
        let mut kfp = super::kfp(standin.url(), &bucket);
        (kfp.namespace, kfp.token) = (namespace.map(str::to_owned), Some(token));
        let folder = tempfile::tempdir().unwrap();
        let settings = kfops_pipeline_runner::Settings { kfp: Some(kfp), ..crate::harness::settings(folder.path()) };
        let ports = kfops_pipeline_runner::Ports::of(&settings, kfops_telemetry::Tracer::disabled()).await;
        if namespace.is_none() {
            assert_eq!(ports.err().map(|failure| failure.reason), Some(reason));
            continue;
        }
        let mut runner = crate::harness::Runner::over(settings, ports.unwrap(), folder).await;
        let run = runner.run(PIPELINE, pb::Run::default()).await;
        let failure = failure_from_proto(run.failure.unwrap());
        assert_eq!(failure.reason, reason, "{failure:?}");
        assert!(failure.action.contains("kubeflow-edit"), "{failure:?}");
    }
}
