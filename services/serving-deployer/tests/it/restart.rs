//! Killed in the middle, started again: as a process of its own.

use std::{path::Path, time::Instant};

use kfops_proto::serving::{CreateRolloutRequest, State};
use serde_json::json;

use crate::{
    load::Load,
    models::model,
    process::Process,
    world::{FILES, eventually, is_at, predict, put_source, rollout, settings, strategy, titles, until},
};

/// Processes whose command line names the folder.
fn children(folder: &Path) -> usize {
    let folder = folder.to_string_lossy().into_owned();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|p| std::fs::read(p.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(&folder)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_of_a_canary_it_goes_on_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    settings.listen = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let file = folder.path().join("settings.yaml");
    let mut process = Process::start(&settings, &file);
    process.up().await;
    let source = put_source(folder.path(), FILES).await;
    let create = |id: &str, name: &str, canary: &[i32]| CreateRolloutRequest {
        rollout: Some(rollout(source.clone(), model(name), strategy(canary))),
        rollout_id: id.into(),
        ..Default::default()
    };
    process.client.create_rollout(create("one", "tree", &[])).await.unwrap();
    let one = until(&mut process.client, "one", |_| false).await;
    assert_eq!(one.state(), State::Succeeded, "{:?}", one.failure);
    process.client.create_rollout(create("two", "deeper", &[10, 50])).await.unwrap();
    process.client.create_rollout(create("three", "tree", &[])).await.unwrap();
    let two = until(&mut process.client, "two", |r| is_at(r, "canary 10 %")).await;
    assert_eq!(two.revision, "iris-00002");

    // SIGKILL: nobody says goodbye, yet no child stays.
    process.child.kill().unwrap();
    process.child.wait().unwrap();
    eventually("its children are gone", async || children(&folder.path().join("state")) == 0).await;

    let began = Instant::now();
    let mut process = Process::start(&settings, &file);
    let body = json!({"instances": [[5.1, 3.5, 1.4, 0.2]]});
    process.up().await;
    eventually("the live revision answers again", async || {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        client.post(&one.endpoint).json(&body).send().await.is_ok_and(|r| r.status() == 200)
    })
    .await;
    println!("from start to an answer of the live revision: {:.2} s", began.elapsed().as_secs_f64());
    let load = Load::start(&one.endpoint, 4, json!([5.1, 3.5, 1.4, 0.2]));
    let two = until(&mut process.client, "two", |_| false).await;
    assert_eq!(two.state(), State::Succeeded, "{:?}", two.failure);
    assert_eq!(two.revision, "iris-00002");
    assert_eq!(titles(&two), ["revision", "proof", "canary 10 %", "canary 50 %", "promote", "drain"]);
    let three = until(&mut process.client, "three", |_| false).await;
    assert_eq!((three.state(), three.revision.as_str()), (State::Succeeded, "iris-00003"));
    let seen = load.stop().await;
    assert_eq!(seen.failed, 0, "{:?}", seen.errors);
    let (status, revision, _) = predict(&three.endpoint, body).await;
    assert_eq!((status, revision.as_str()), (200, "iris-00003"));

    // SIGTERM: two stages, then no child stays.
    let pid = rustix::process::Pid::from_child(&process.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status =
        tokio::task::spawn_blocking(move || process.child.wait().map(|s| (s, process))).await.unwrap().unwrap();
    assert!(status.0.success(), "{:?}", status.0);
    assert_eq!(children(&folder.path().join("state")), 0);
}
