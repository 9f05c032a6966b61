//! A store or a database that refuses: the resource fails, can be read, and can be tried again.

use kfops_core::Reason;
use kfops_proto::pipeline as pb;
use kfops_rpc::failure_from_proto;

use crate::harness::{Runner, waiting_pipeline};

#[tokio::test]
async fn a_store_that_refuses_fails_the_version_and_the_run() {
    let mut runner = Runner::start().await;
    let store = runner.folder.path().join("store");
    let pipeline = waiting_pipeline(1);
    // A file where the folder of compiled pipelines should be.
    let version = runner.request("p.py", &[("p.py", &pipeline)]).await;
    std::fs::write(store.join("specs"), "in the way").unwrap();
    runner.clients.create_version("v-1", version.clone(), None).await.unwrap();
    let failed = runner.clients.version("v-1").await;
    let failure = failure_from_proto(failed.failure.clone().unwrap());
    assert_eq!((failure.reason, failure.retryable), (Reason::StoreUnavailable, true), "{failure:?}");

    // Once it takes things again, the same is made under another id; then the model finds no place.
    std::fs::remove_file(store.join("specs")).unwrap();
    runner.clients.create_version("v-2", version, None).await.unwrap();
    let version = runner.clients.version("v-2").await;
    assert_eq!(version.state(), pb::State::Succeeded, "{:?}", version.failure);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pipeline = waiting_pipeline(listener.local_addr().unwrap().port());
    let version = runner.request("p.py", &[("p.py", &pipeline)]).await;
    runner.clients.create_version("v-3", version, None).await.unwrap();
    assert_eq!(runner.clients.version("v-3").await.state(), pb::State::Succeeded);
    std::fs::write(store.join("models"), "in the way").unwrap();
    let run = pb::Run { pipeline_version: "pipelineVersions/v-3".into(), ..Default::default() };
    runner.clients.create_run("r-1", run, None).await.unwrap();
    let (mut task, _) = listener.accept().await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut task, b"1").await.unwrap();
    let failed = runner.clients.run("r-1").await;
    let failure = failure_from_proto(failed.failure.clone().unwrap());
    assert_eq!((failure.reason, failure.retryable), (Reason::StoreUnavailable, true), "{failure:?}");
    assert_eq!(failed.tasks[0].state(), pb::State::Succeeded);
}

#[tokio::test]
async fn a_database_that_refuses_fails_the_run_and_shows_it() {
    let mut runner = Runner::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pipeline = waiting_pipeline(listener.local_addr().unwrap().port());
    let version = runner.compile("p.py", &[("p.py", &pipeline)]).await;
    let run = pb::Run { pipeline_version: version.name.clone(), ..Default::default() };
    runner.clients.create_run("r-1", run.clone(), None).await.unwrap();
    let (mut task, _) = listener.accept().await.unwrap();
    let running = |run: &pb::Run| run.tasks.iter().any(|task| task.state() == pb::State::Running);
    runner.clients.run_until("r-1", running).await;
    let database = runner.folder.path().join("state/pipelines.db");
    let other = rusqlite::Connection::open(database).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut task, b"1").await.unwrap();
    let ended = runner.clients.run("r-1").await;
    let failure = failure_from_proto(ended.failure.clone().unwrap());
    assert_eq!((ended.state(), failure.reason), (pb::State::Failed, Reason::StoreUnavailable), "{failure:?}");
    assert!(failure.retryable && failure.resource == "runs/r-1", "{failure:?}");
    // A new one is refused, not forgotten halfway.
    let refused = runner.clients.create_run("r-2", run, None).await.unwrap_err();
    assert_eq!(refused.reason, Reason::StoreUnavailable);
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(runner.clients.run("r-1").await.end_time, ended.end_time);
}
