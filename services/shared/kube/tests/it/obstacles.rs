//! What does not run is named within seconds, and given up when nothing is to be hoped for.

use std::time::Duration;

use k8s_openapi::api::{batch::v1::Job, core::v1::ResourceQuota};
use kfops_core::Reason;
use kfops_kube::job::{Patience, Task};
use serde_json::{Value, json};

use crate::world::{Told, World, task};

/// Tests' patience; what is measured is when it was told.
fn impatient(task: Task) -> Task {
    let seconds = Duration::from_secs;
    let patience = Patience { objects: seconds(3), registry: seconds(3), capacity: seconds(3), node: seconds(3) };
    Task { patience, attempts: 1, ..task }
}

/// Runs it; it fails with these words, which were told within seconds, and leaves nothing.
async fn named(world: &World, task: Task, reason: Reason, words: &str) {
    let begun = std::time::Instant::now();
    let (outcome, told, took) = world.run(&impatient(task)).await;
    let failure = outcome.unwrap_err();
    assert_eq!(failure.reason, reason, "{failure:?}");
    assert!(failure.message.contains(words), "{failure:?}");
    assert!(!failure.action.is_empty());
    let (first, seconds) = (first_word(&told), Duration::from_secs(30));
    assert!(first.as_ref().is_some_and(|(at, _)| *at - begun < seconds), "{took:?}");
    println!("named after {:.1} s", first.map_or(0.0, |(at, _)| (at - begun).as_secs_f64()));
    assert!(world.pods().await.is_empty());
    let jobs = world.api::<Job>().list(&kube::api::ListParams::default()).await.unwrap();
    assert!(jobs.items.is_empty());
}

fn first_word(told: &Told) -> Option<(std::time::Instant, String)> {
    told.waits.lock().unwrap().first().cloned()
}

fn plain(name: &str, container: Value, pod: Value) -> Task {
    task(name, "sleep 100", container, pod)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named() {
    let Some(world) = World::new(&[]).await else { return };
    let image = plain("image", json!({"image": "registry.test/none:1"}), json!({}));
    named(&world, image, Reason::ClusterRefused, "image registry.test/none:1 cannot be pulled: not found").await;

    let secret = json!({"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "login", "key": "x"}}}]});
    named(&world, plain("secret", secret, json!({})), Reason::ClusterRefused, r#"secret "login" not found"#).await;

    let mount = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let volume = json!({"volumes": [{"name": "v", "secret": {"secretName": "login"}}]});
    named(&world, plain("volume", mount, volume), Reason::ClusterRefused, r#"secret "login" not found"#).await;

    let account = json!({"serviceAccountName": "none"});
    named(&world, plain("account", json!({}), account), Reason::ClusterRefused, r#"serviceaccount "none" not found"#)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lack_of_room_is_named() {
    let Some(world) = World::new(&[]).await else { return };
    let cpu = json!({"resources": {"requests": {"cpu": "1000"}}});
    named(&world, plain("cpu", cpu, json!({})), Reason::ResourceExhausted, "Insufficient cpu").await;
    let node = json!({"nodeSelector": {"kfops.test/none": "yes"}});
    named(&world, plain("node", json!({}), node), Reason::ClusterRefused, "didn't match Pod's node affinity/selector")
        .await;

    let quota = json!({"metadata": {"name": "small"}, "spec": {"hard": {"requests.memory": "1Mi"}}});
    world.make::<ResourceQuota>(quota).await;
    named(&world, plain("quota", json!({}), json!({})), Reason::ResourceExhausted, "exceeded quota: small").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_pod_is_named() {
    let Some(world) = World::new(&[("pod-security.kubernetes.io/enforce", "restricted")]).await else { return };
    let words = r#"violates PodSecurity "restricted:latest""#;
    named(&world, plain("security", json!({}), json!({})), Reason::ClusterRefused, words).await;
}
