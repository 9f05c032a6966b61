//! What runs: to its end, once, adopted, canceled, begun again when the cluster took it away.

use std::time::Duration;

use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kfops_core::Reason;
use kfops_kube::job::{Outcome, Task, remove, run};
use kube::api::{DeleteParams, EvictParams};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::world::{Told, World, eventually, task};

#[tokio::test(flavor = "multi_thread")]
async fn a_program_runs_once_and_its_result_stays_until_it_is_removed() {
    let Some(world) = World::new(&[]).await else { return };
    let script = "echo one; sleep 1; echo two >&2; printf result >/dev/termination-log";
    let fetch = json!([{"name": "fetch", "image": "registry.test/base:1", "command": ["sh", "-c", "echo zero"]}]);
    let task = task("once", script, json!({}), json!({"initContainers": fetch}));
    let (outcome, told, _) = world.run(&task).await;
    let Ok(Outcome::Succeeded(finished)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(finished.message, "result");
    assert!(finished.ran.is_some());
    assert_eq!(told.text(), "zero\none\ntwo\n");
    let uid = world.pods().await[0].metadata.uid.clone();

    let (again, told, _) = world.run(&task).await;
    assert_eq!(again, Ok(Outcome::Succeeded(finished)));
    assert_eq!(told.text(), "zero\none\ntwo\n");
    assert_eq!(world.pods().await.iter().map(|pod| pod.metadata.uid.clone()).collect::<Vec<_>>(), [uid]);

    remove(&world.client, &world.namespace, "once", Duration::from_secs(60)).await.unwrap();
    assert!(world.pods().await.is_empty());
    remove(&world.client, &world.namespace, "once", Duration::from_secs(60)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_after_adopts_and_another_task_of_the_name_replaces() {
    let Some(world) = World::new(&[]).await else { return };
    let waiting = task("adopted", "echo begun; until [ -e /go ]; do sleep 0.2; done; echo done", json!({}), json!({}));
    let told = Told::default();
    let never = CancellationToken::new();
    // As a service that is killed: the future is dropped in the middle.
    tokio::select! {
        outcome = run(&world.client, &world.namespace, &waiting, &told, &never) => panic!("{outcome:?}"),
        () = eventually("the log", async || told.text().contains("begun")) => {}
    }
    let before = world.pods().await[0].metadata.uid.clone();
    let other = Task { keep: Duration::from_secs(5), ..waiting.clone() };
    let told = Told::default();
    tokio::select! {
        outcome = run(&world.client, &world.namespace, &other, &told, &never) => panic!("{outcome:?}"),
        () = eventually("the log again", async || told.text().contains("begun")) => {}
    }
    assert_eq!(world.pods().await[0].metadata.uid, before);

    let (outcome, told, _) = world.run(&task("adopted", "echo other", json!({}), json!({}))).await;
    assert!(matches!(outcome, Ok(Outcome::Succeeded(_))), "{outcome:?}");
    assert_eq!(told.text(), "other\n");
    assert!(world.pods().await.iter().all(|pod| pod.metadata.uid != before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_leaves_nothing() {
    let Some(world) = World::new(&[]).await else { return };
    let task = task("canceled", "trap '' TERM; echo begun; while :; do sleep 0.2; done", json!({}), json!({}));
    let (told, cancel) = (Told::default(), CancellationToken::new());
    let running = run(&world.client, &world.namespace, &task, &told, &cancel);
    let cancels = async {
        eventually("the log", async || told.text().contains("begun")).await;
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(running, cancels);
    assert_eq!(outcome.unwrap_err().reason, Reason::Canceled);
    assert!(world.pods().await.is_empty());
    assert!(world.api::<Job>().get_opt("canceled").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_cluster_takes_away_begins_again() {
    let Some(world) = World::new(&[]).await else { return };
    // The second attempt finds what the first one left.
    let script = "echo begun on attempt; until [ -e /go ]; do sleep 0.2; done";
    let task = Task { attempts: 3, ..task("again", script, json!({}), json!({})) };
    let (told, cancel) = (Told::default(), CancellationToken::new());
    let running = run(&world.client, &world.namespace, &task, &told, &cancel);
    let pods = world.api::<Pod>();
    let begun = |count: usize| {
        let told = told.clone();
        async move { eventually("the log", async || told.text().matches("begun").count() == count).await }
    };
    let disturbs = async {
        begun(1).await;
        let name = world.pods().await[0].metadata.name.clone().unwrap();
        pods.evict(&name, &EvictParams::default()).await.unwrap();
        begun(2).await;
        let name = world.pods().await[0].metadata.name.clone().unwrap();
        pods.delete(&name, &DeleteParams::default()).await.unwrap();
        begun(3).await;
        let job = world.api::<Job>().get("again").await.unwrap();
        assert_eq!(job.metadata.annotations.unwrap()["kfops.dev/attempt"], "3");
        let name = world.pods().await[0].metadata.name.clone().unwrap();
        pods.evict(&name, &EvictParams::default()).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(running, disturbs);
    let failure = outcome.unwrap_err();
    assert!(failure.retryable && failure.message.contains("EvictionByEvictionAPI"), "{failure:?}");
    let waits = told.waits.lock().unwrap().clone();
    assert!(waits.iter().any(|(_, text)| text.contains("begun again (attempt 2)")), "{waits:?}");
    assert!(world.pods().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_the_program_are_its_own() {
    let Some(world) = World::new(&[]).await else { return };
    let (outcome, ..) = world.run(&task("exit", "echo why >&2; exit 3", json!({}), json!({}))).await;
    let Ok(Outcome::Exited(exited)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((exited.code, exited.log_tail.as_str()), (3, "why\n"));

    let fetch = json!([{"name": "fetch", "image": "registry.test/base:1", "command": ["sh", "-c", "echo no; exit 4"]}]);
    let (outcome, ..) = world.run(&task("init", "echo never", json!({}), json!({"initContainers": fetch}))).await;
    let Ok(Outcome::Exited(exited)) = outcome else { panic!("{outcome:?}") };
    assert_eq!((exited.container.as_str(), exited.code, exited.log_tail.as_str()), ("fetch", 4, "no\n"));

    let limit =
        json!({"resources": {"limits": {"memory": "32Mi"}}, "command": ["python3", "-c", "x = b'x' * (1 << 30)"]});
    let (outcome, ..) = world.run(&task("oom", "", limit, json!({}))).await;
    let failure = outcome.unwrap_err();
    assert_eq!((failure.reason, failure.retryable), (Reason::ResourceExhausted, false), "{failure:?}");
    assert!(failure.message.contains("memory limit of 32Mi"), "{failure:?}");

    let short =
        Task { deadline: Duration::from_secs(5), ..task("deadline", "echo slow; sleep 100", json!({}), json!({})) };
    let (outcome, told, took) = world.run(&short).await;
    let failure = outcome.unwrap_err();
    assert_eq!(failure.reason, Reason::DeadlineExceeded, "{failure:?}");
    assert_eq!((told.text().as_str(), failure.log_tail.as_str()), ("slow\n", "slow"));
    assert!(took < Duration::from_secs(60), "{took:?}");

    let loud = Task { max_log: 100_000, ..task("loud", "yes", json!({}), json!({})) };
    let (outcome, told, _) = world.run(&loud).await;
    assert_eq!(outcome.unwrap_err().reason, Reason::ResourceExhausted);
    assert!(told.text().len() < 200_000);
    assert!(world.api::<Job>().get_opt("loud").await.unwrap().is_none());
}
