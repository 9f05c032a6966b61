//! The service as a process of its own, killed in the middle.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use kfops_process::{Child, Command};
use kfops_proto::pipeline as pb;
use kfops_store::Store;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::harness::{Clients, PATIENCE, python, settings, version_request, waiting_pipeline};

/// Starts the binary over the folder; gives it and its address.
pub(crate) async fn start(folder: &Path, number: u32, more: &[&str]) -> (Child, Clients) {
    let settings = settings(folder);
    let store = format!("store={}", settings.store);
    let state = format!("state={}", settings.state.display());
    let sets: Vec<&str> = ["listen=127.0.0.1:0", &store, &state].into_iter().chain(more.iter().copied()).collect();
    start_set(folder, number, &sets, &python()).await
}

/// Starts the binary with these settings of a cluster.
pub(crate) async fn start_with(
    settings: &kfops_pipeline_runner::Settings,
    folder: &Path,
    number: u32,
) -> (Child, Clients) {
    let serde_json::Value::Object(fields) = serde_json::to_value(settings).unwrap() else { panic!("no settings") };
    let changed = ["listen", "state", "compile_memory_mib", "kfp", "sandbox", "kubernetes"];
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut sets: Vec<String> = changed.iter().map(|name| format!("{name}={}", text(&fields[*name]))).collect();
    sets.push(format!("store={}", settings.store));
    start_set(folder, number, &sets.iter().map(String::as_str).collect::<Vec<_>>(), &settings.python).await
}

async fn start_set(folder: &Path, number: u32, sets: &[&str], python: &Path) -> (Child, Clients) {
    let log = folder.join(format!("service-{number}.log"));
    let child = Command::new(env!("CARGO_BIN_EXE_kfops-pipeline-runner"))
        .args(sets.iter().flat_map(|set| ["--set", set]))
        .env("KFOPS_PIPELINE_RUNNER_PYTHON", python)
        .log(&log)
        .spawn()
        .unwrap();
    let begun = Instant::now();
    loop {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let address = text
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .find_map(|line| line.get("address")?.as_str().map(str::to_owned));
        if let Some(address) = address {
            return (child, Clients::new(&address));
        }
        assert!(begun.elapsed() < PATIENCE, "not started: {text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    tokio::time::timeout(PATIENCE, listener.accept()).await.expect("the task connects").unwrap().0
}

#[tokio::test]
async fn a_run_that_was_killed_is_run_again_under_its_id() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&settings(folder.path()).store).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mut service, mut clients) = start(folder.path(), 1, &[]).await;
    let pipeline = waiting_pipeline(listener.local_addr().unwrap().port());
    let version = version_request(&store, "p.py", &[("p.py", &pipeline)]).await;
    clients.create_version("v-1", version, None).await.unwrap();
    assert_eq!(clients.version("v-1").await.state(), pb::State::Succeeded);
    let run = pb::Run { pipeline_version: "pipelineVersions/v-1".into(), ..Default::default() };
    clients.create_run("r-1", run, None).await.unwrap();
    let mut first = accept(&listener).await;

    service.kill().await;
    let (mut service, mut clients) = start(folder.path(), 2, &[]).await;
    let mut second = accept(&listener).await;
    // The first task is gone by then, although only the service was killed.
    let gone = tokio::time::timeout(PATIENCE, first.read(&mut [0])).await.expect("the first task has ended");
    assert_eq!(gone.unwrap_or(0), 0);
    let open = clients.run_until("r-1", |run| run.tasks.iter().any(|task| task.state() == pb::State::Running)).await;
    assert_eq!((open.state(), open.attempt), (pb::State::Running, 2));
    second.write_all(b"!").await.unwrap();
    let run = clients.run("r-1").await;
    assert_eq!((run.state(), run.attempt, run.tasks.len()), (pb::State::Succeeded, 2, 1), "{:?}", run.failure);
    assert_eq!(store.get("models/r-1/model.txt").await.unwrap(), "trained");
    service.terminate(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn a_compilation_that_was_killed_is_done_again_and_a_stop_leaves_the_rest_for_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&settings(folder.path()).store).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mut service, mut clients) = start(folder.path(), 1, &[]).await;
    let pipeline = waiting_pipeline(listener.local_addr().unwrap().port());
    let version = version_request(&store, "p.py", &[("p.py", &pipeline)]).await;
    clients.create_version("v-1", version, None).await.unwrap();
    service.kill().await;
    let (mut service, mut clients) = start(folder.path(), 2, &[]).await;
    assert_eq!(clients.version("v-1").await.state(), pb::State::Succeeded);
    service.terminate(Duration::from_secs(10)).await;
}
