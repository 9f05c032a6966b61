//! What dies while a model is live is started again.

use std::{path::Path, time::Duration};

use kfops_proto::{common::Model, serving::State};
use kfops_serving_deployer::Settings;
use kfops_settings::HumanDuration;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    models::model,
    world::{FILES, World, eventually, is_at, predict, put_source, rollout, strategy},
};

fn pid(file: &Path) -> Option<i32> {
    let note: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    i32::try_from(note["pid"].as_i64()?).ok()
}

/// The largest process whose command line has this text: a sandbox's own processes have it too.
fn largest(text: &str) -> i32 {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|p| p.file_name().to_str()?.parse::<i32>().ok());
    let named = pids.filter(|pid| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(text))
    });
    named.max_by(|a, b| memory(*a).0.total_cmp(&memory(*b).0)).unwrap()
}

/// Resident and proportional memory in MiB.
fn memory(pid: i32) -> (f64, f64) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let of = |key: &str| {
        let Some(line) = text.lines().find(|line| line.starts_with(key)) else { return 0.0 };
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    };
    (of("Rss:"), of("Pss:"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn envoy_and_a_live_model_server_are_started_again() {
    let mut world = World::start().await;
    world.deploy("one", "tree", strategy(&[])).await;
    let one = world.ended("one").await;
    assert_eq!(one.state(), State::Succeeded, "{:?}", one.failure);
    println!("revision: {}", one.steps[0].message);
    let state = world.path().join("state").canonicalize().unwrap();
    let (envoy, server) = (state.join("envoy/pid.json"), state.join("servers/team/iris-00001/pid.json"));
    for (what, file) in [("envoy", "envoy/bootstrap.json"), ("model server", "servers/team/iris-00001/model_server.py")]
    {
        let (rss, pss) = memory(largest(&state.join(file).to_string_lossy()));
        println!("{what}: {rss:.0} MiB resident, {pss:.0} MiB proportional");
    }

    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answers = async || {
        let body = json!({"instances": [[5.1, 3.5, 1.4, 0.2]]});
        let asked = client.post(&one.endpoint).json(&body).timeout(Duration::from_secs(10)).send().await;
        asked.is_ok_and(|r| r.status() == 200)
    };
    assert!(answers().await);
    let ended = [("envoy", &envoy, Signal::KILL), ("model server", &server, Signal::KILL)];
    for (what, file, signal) in ended.into_iter().chain([("envoy that hangs", &envoy, Signal::STOP)]) {
        let before = pid(file).unwrap();
        kill_process(Pid::from_raw(before).unwrap(), signal).unwrap();
        eventually(what, async || pid(file).is_some_and(|now| now != before) && answers().await).await;
    }

    // Envoy dies or hangs in the middle of a canary: the rollout goes on.
    for (id, signal) in [("two", Signal::KILL), ("three", Signal::STOP)] {
        world.deploy(id, "deeper", strategy(&[50])).await;
        world.until(id, |r| is_at(r, "canary 50 %")).await;
        kill_process(Pid::from_raw(pid(&envoy).unwrap()).unwrap(), signal).unwrap();
        let ended = world.ended(id).await;
        assert_eq!(ended.state(), State::Succeeded, "{:?}", ended.failure);
        assert!(answers().await);
    }
    world.stop().await;
    for file in [envoy, server] {
        assert!(pid(&file).is_none(), "{} is left", file.display());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_server_that_hangs_is_started_again_and_a_slow_one_is_not() {
    let interval = Duration::from_secs(1);
    let mut world = World::start_with(|s| Settings { probe_interval: HumanDuration(interval), ..s }, "").await;
    world.deploy("one", "slow", strategy(&[])).await;
    let one = world.ended("one").await;
    assert_eq!(one.state(), State::Succeeded, "{:?}", one.failure);
    let state = world.path().join("state").canonicalize().unwrap();
    let file = state.join("servers/team/iris-00001/pid.json");
    let before = pid(&file).unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answers = async || {
        let body = json!({"instances": [[5.1, 3.5, 1.4, 0.2]]});
        client.post(&one.endpoint).json(&body).timeout(interval * 10).send().await.is_ok_and(|r| r.status() == 200)
    };
    // Each takes 0.8 s; together they are longer than three probes.
    for _ in 0..6 {
        assert!(answers().await);
    }
    assert_eq!(pid(&file), Some(before), "a slow server was started again");

    let script = state.join("servers/team/iris-00001/model_server.py");
    let server = Pid::from_raw(largest(&script.to_string_lossy())).unwrap();
    kill_process(server, Signal::STOP).unwrap();
    let began = std::time::Instant::now();
    eventually("another server answers", async || pid(&file).is_some_and(|now| now != before) && answers().await).await;
    println!("hung, and answered again after {:.1} s", began.elapsed().as_secs_f64());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_live_and_does_not_answer_is_said() {
    let mut world = World::start().await;
    // A copy of its own, which can go away.
    let (kept, gone) = (world.path().join("model"), world.path().join("gone"));
    let shared = model("tree");
    std::fs::create_dir(&kept).unwrap();
    let file = Path::new(shared.uri.strip_prefix("file://").unwrap()).join("model.joblib");
    std::fs::copy(file, kept.join("model.joblib")).unwrap();
    let own = Model { uri: format!("file://{}", kept.display()), ..shared };
    let source = put_source(world.path(), FILES).await;
    world.create("one", rollout(source, own, strategy(&[]))).await.unwrap();
    let one = world.ended("one").await;
    assert_eq!(one.state(), State::Succeeded, "{:?}", one.failure);
    let unanswered = async |world: &mut World| world.inference_service().await.revisions[0].unanswered.clone();
    eventually("it answers", async || unanswered(&mut world).await.is_empty()).await;

    std::fs::rename(&kept, &gone).unwrap();
    let mut world = world.restart().await;
    let expected = "its model server cannot be started: ";
    eventually("it is said", async || unanswered(&mut world).await.starts_with(expected)).await;
    assert_eq!(world.inference_service().await.live_revision, "iris-00001");
    println!("said: {}", unanswered(&mut world).await);
    std::fs::rename(&gone, &kept).unwrap();
    eventually("it answers again", async || unanswered(&mut world).await.is_empty()).await;
    assert_eq!(
        predict(&world.inference_service().await.endpoint, json!({"instances": [[5.1, 3.5, 1.4, 0.2]]})).await.0,
        200
    );
    world.stop().await;
}
