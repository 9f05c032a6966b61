//! What keeps a build from running is named within seconds.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ResourceQuota;
use kfops_proto::{build::Build, common::Reason};
use kube::api::PostParams;
use serde_json::json;

use super::world::Cluster;
use crate::world::image;

/// A build of its own with these settings; how it fails.
async fn fails(cluster: &Cluster, id: &str, set: &[&str], step: &str) -> (Build, Duration) {
    // Each of these services begins anew.
    let folder = tempfile::tempdir().unwrap();
    let state = format!("state={}", folder.path().display());
    let process = cluster.start(&[&[state.as_str()], set].concat());
    let text = format!("FROM registry.registry:5000/base:1\nRUN {step} # {id}\n");
    let source = cluster.source(&[("i/Dockerfile", &text)]).await;
    let begun = Instant::now();
    process.create(id, &source, vec![image("i", "i")]).await;
    let build = process.service.ended(id).await;
    let failure = build.failure.clone().unwrap();
    println!(
        "{id}: {:.1} s: {:?}: {} ({})",
        begun.elapsed().as_secs_f64(),
        failure.reason(),
        failure.message,
        failure.action
    );
    assert!(!failure.action.is_empty());
    (build, begun.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named() {
    let Some(cluster) = Cluster::new().await else { return };
    let soon = Duration::from_secs(45);
    let (build, took) = fails(&cluster, "image", &["buildkit.image=registry.test/none:1"], "true").await;
    let failure = build.failure.unwrap();
    assert_eq!(failure.reason(), Reason::ClusterRefused);
    assert!(failure.message.contains("image registry.test/none:1 cannot be pulled: not found"), "{failure:?}");
    assert!(took < soon, "{took:?}");
    assert!(cluster.log(&build.results[0]).await.contains("kfops: waits: image registry.test/none:1"));

    let (build, took) = fails(&cluster, "secret", &["buildkit.registry_secret=login"], "true").await;
    let failure = build.failure.unwrap();
    assert!(failure.message.contains(r#"secret "login" not found"#), "{failure:?}");
    assert!(took < soon, "{took:?}");

    let cpu = r#"buildkit.resources={"requests": {"cpu": "1000"}}"#;
    let (build, took) = fails(&cluster, "cpu", &[cpu], "true").await;
    let failure = build.failure.unwrap();
    assert_eq!(failure.reason(), Reason::ResourceExhausted);
    assert!(failure.message.contains("Insufficient cpu"), "{failure:?}");
    assert!(took < soon, "{took:?}");

    let quota = json!({"metadata": {"name": "small"}, "spec": {"hard": {"requests.memory": "1Mi"}}});
    let quota: ResourceQuota = serde_json::from_value(quota).unwrap();
    cluster.api().create(&PostParams::default(), &quota).await.unwrap();
    let (build, took) = fails(&cluster, "quota", &[], "true").await;
    let failure = build.failure.unwrap();
    assert!(failure.message.contains("exceeded quota: small"), "{failure:?}");
    assert!(took < soon, "{took:?}");
    cluster.nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_named() {
    let Some(cluster) = Cluster::new().await else { return };
    let (build, _) = fails(&cluster, "deadline", &["build_timeout=40s"], "echo slow && sleep 300").await;
    let failure = build.failure.unwrap();
    assert_eq!(failure.reason(), Reason::ImageBuildFailed);
    assert!(failure.message.contains("time limit of 40 s at step 2/2 (RUN echo slow"), "{failure:?}");

    let small = r#"buildkit.resources={"requests": {"memory": "64Mi"}, "limits": {"memory": "200Mi"}}"#;
    let (build, _) = fails(&cluster, "memory", &[small], "python3 -c \"x = b'x' * (1 << 30)\"").await;
    let failure = build.failure.unwrap();
    println!("{failure:?}");
    assert!(failure.message.contains("memory"), "{failure:?}");
}
