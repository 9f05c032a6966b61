//! Images that Jobs build: pushed, found again, canceled, adopted.

use kfops_proto::{
    build::{CancelBuildRequest, State},
    common::Reason,
};

use super::{
    collector::{Collector, Seen},
    world::{Cluster, trace},
};
use crate::world::image;

const BASE: &str = "registry.registry:5000/base:1";

fn dockerfile(rest: &str) -> String {
    format!("FROM {BASE}\n{rest}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_images_are_built_pushed_and_found_again() {
    let Some(cluster) = Cluster::new().await else { return };
    let process = cluster.start(&[]);
    let (one, two) = (
        dockerfile("ARG GREETING=none\nCOPY x /x\nRUN cat /x && echo \"greeting $GREETING\""),
        dockerfile("RUN id -u"),
    );
    let files = [("one/docker/Dockerfile", one.as_str()), ("one/x", "the file"), ("two/Dockerfile", &two)];
    let source = cluster.source(&files).await;
    let mut images = vec![image("one", "one"), image("two", "two")];
    images[0].dockerfile = "docker/Dockerfile".into();
    images[0].build_args = [("GREETING".to_owned(), "hello; $(id)".to_owned())].into();
    process.create("b-1", &source, images.clone()).await;
    let build = process.service.succeeded("b-1").await;
    let log = cluster.log(&build.results[0]).await;
    assert!(log.contains("the file") && log.contains("greeting hello; $(id)"), "{log}");
    for (result, name) in build.results.iter().zip(["one", "two"]) {
        let digest = &result.image.as_ref().unwrap().digest;
        let (found, manifest) = cluster.manifest(&format!("o/n/{name}"), digest).await;
        assert_eq!(found, *digest);
        // The image and what attests where it comes from.
        let kinds: Vec<&str> = manifest["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|entry| entry["annotations"]["vnd.docker.reference.type"].as_str())
            .collect();
        assert_eq!(kinds, ["attestation-manifest"], "{manifest}");
        attestations_hold(&cluster.attested(&format!("o/n/{name}"), &manifest).await, digest);
        let content = result.content_digest.trim_start_matches("sha256:");
        let (tagged, _) = cluster.manifest(&format!("o/n/{name}"), &format!("kfops-content-{content}")).await;
        assert_eq!(tagged, *digest);
    }
    cluster.nothing_left().await;

    // By its content, and without the database.
    process.create("b-2", &source, images.clone()).await;
    assert!(process.service.succeeded("b-2").await.results.iter().all(|result| result.reused));
    let folder = tempfile::tempdir().unwrap();
    let process = cluster.start(&[&format!("state={}", folder.path().display())]);
    process.create("b-3", &source, images).await;
    assert!(process.service.succeeded("b-3").await.results.iter().all(|result| result.reused));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_is_named_with_its_log() {
    let Some(cluster) = Cluster::new().await else { return };
    let process = cluster.start(&[]);
    let text = dockerfile("RUN echo the last words && exit 3");
    let source = cluster.source(&[("i/Dockerfile", &text)]).await;
    process.create("b-1", &source, vec![image("i", "i")]).await;
    let build = process.service.ended("b-1").await;
    let failure = build.failure.clone().unwrap();
    println!("{failure:?}");
    assert_eq!(failure.reason(), Reason::ImageBuildFailed);
    assert!(failure.message.contains("RUN echo the last words"), "{failure:?}");
    assert!(failure.log_tail.contains("the last words"), "{failure:?}");
    assert!(cluster.log(&build.results[0]).await.contains("the last words"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_in_the_middle_leaves_nothing() {
    let Some(cluster) = Cluster::new().await else { return };
    let process = cluster.start(&[]);
    let text = dockerfile("RUN echo begun && sleep 600");
    let source = cluster.source(&[("i/Dockerfile", &text)]).await;
    let created = process.create("b-1", &source, vec![image("i", "i")]).await;
    cluster.eventually("the step runs", async || step_runs(&cluster.log(&created.results[0]).await)).await;
    process.service.client.clone().cancel_build(CancelBuildRequest { name: "builds/b-1".into() }).await.unwrap();
    assert_eq!(process.service.ended("b-1").await.state(), State::Canceled);
    cluster.nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_comes_again_adopts_what_runs() {
    let Some(cluster) = Cluster::new().await else { return };
    let text = dockerfile("RUN echo begun && sleep 25 && echo ended");
    let source = cluster.source(&[("i/Dockerfile", &text)]).await;
    let process = cluster.start(&[]);
    let created = process.create("b-1", &source, vec![image("i", "i")]).await;
    cluster.eventually("the step runs", async || step_runs(&cluster.log(&created.results[0]).await)).await;
    let before = cluster.pods().await;
    assert_eq!(before.len(), 1);
    drop(process);

    // In order, too: what runs is left to the next one.
    cluster.start(&[]).terminate().await;
    let process = cluster.start(&[]);
    let build = process.service.until("b-1", |build| build.results[0].state() == State::Running);
    build.await;
    let after = cluster.pods().await;
    assert_eq!(after.iter().map(|pod| &pod.metadata.uid).collect::<Vec<_>>(), [&before[0].metadata.uid]);
    let build = process.service.succeeded("b-1").await;
    assert!(!build.results[0].reused);
    let log = cluster.log(&build.results[0]).await;
    assert_eq!(log.lines().filter(|line| step_begun(line)).count(), 1, "{log}");
    assert!(log.contains("ended"), "{log}");
    cluster.nothing_left().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn buildkits_spans_join_the_trace() {
    let Some(cluster) = Cluster::new().await else { return };
    let collector = Collector::start(&cluster).await;
    let process = cluster.start(&[&format!("buildkit.otlp_endpoint={}", collector.url)]);
    let source = cluster.source(&[("i/Dockerfile", &dockerfile("RUN echo traced"))]).await;
    process.create("b-1", &source, vec![image("i", "i")]).await;
    process.service.succeeded("b-1").await;
    let build = trace().child("builds/b-1").child("image/i").child("build").to_string();
    let [_, trace, parent, _] = build.split('-').collect::<Vec<_>>()[..] else { panic!("{build}") };
    let step = |spans: &[Seen]| spans.iter().find(|span| span.name.contains("RUN echo traced")).cloned();
    cluster.eventually("the step's span", async || step(&collector.spans().await).is_some()).await;
    let spans = collector.spans().await;
    let mut span = step(&spans).unwrap();
    let mut names = vec![span.name.clone()];
    while span.parent != parent {
        assert_eq!(span.trace, trace);
        span =
            spans.iter().find(|other| other.id == span.parent).unwrap_or_else(|| panic!("{span:?}: {spans:?}")).clone();
        names.push(span.name.clone());
    }
    println!("{} spans; {names:?}", spans.len());
}

/// Provenance by BuildKit, and an SBOM with packages of the base image.
fn attestations_hold(attested: &[(String, serde_json::Value)], digest: &str) {
    let of = |kind: &str| {
        &attested.iter().find(|(found, _)| found.starts_with(kind)).unwrap_or_else(|| panic!("{kind}: {attested:?}")).1
    };
    let provenance = of("https://slsa.dev/provenance/");
    assert!(provenance["predicate"].is_object(), "{provenance}");
    let sbom = of("https://spdx.dev/Document");
    assert!(!sbom["subject"].as_array().unwrap().is_empty(), "{sbom}");
    let packages = sbom["predicate"]["packages"].as_array().unwrap();
    let known = |start: &str| {
        packages.iter().any(|package| {
            package["externalRefs"][0]["referenceLocator"].as_str().is_some_and(|url| url.starts_with(start))
        })
    };
    assert!(known("pkg:deb/debian/libc6@"), "{sbom}");
    println!("{digest}: {} packages", packages.len());
}

fn step_runs(log: &str) -> bool {
    log.lines().any(step_begun)
}

/// BuildKit shows what a step writes behind its number and the seconds. The step itself it may name more than once.
fn step_begun(line: &str) -> bool {
    line.starts_with('#') && line.ends_with(" begun")
}
