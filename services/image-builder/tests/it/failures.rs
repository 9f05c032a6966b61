//! What goes wrong, and how it is said.

use kfops_proto::{
    build::{Build, CancelBuildRequest, CreateBuildRequest, ImageSpec, State, TagBuildRequest},
    common::Reason,
};
use tonic::Code;

use crate::world::{World, eventually, image, unique};

#[tokio::test]
async fn failures_name_image_step_and_log() {
    let world = World::new().await;
    let service = world.start().await;
    let broken = format!("FROM python:3.11-slim\nRUN echo the last words {} && exit 3\n", unique(world.folder.path()));
    let source = world
        .source(&[
            ("broken/Dockerfile", &broken),
            ("good/Dockerfile", "FROM scratch\nCOPY x /x\n"),
            ("good/x", "1"),
            ("empty/x", "1"),
            ("unknown/Dockerfile", "FROM ubuntu:24.04\n"),
            ("transport/Dockerfile", "FROM dir:/etc\n"),
            ("copy/Dockerfile", "FROM python:3.11-slim\nCOPY missing /x\n"),
        ])
        .await;
    let names = ["broken", "good", "empty", "unknown", "transport", "copy", "absent"];
    service.create("b-1", &source, names.iter().map(|name| image(name, name)).collect()).await;
    let build = service.ended("b-1").await;
    assert_eq!(build.state(), State::Failed);

    let failure = |index: usize| build.results[index].failure.clone().unwrap_or_default();
    assert_eq!(failure(0).reason(), Reason::ImageBuildFailed);
    assert_eq!(failure(0).resource, "builds/b-1/images/broken");
    assert!(
        failure(0).message.starts_with("image broken: the build failed at step 2/2 (RUN echo"),
        "{}",
        failure(0).message
    );
    assert!(failure(0).log_tail.contains("the last words"), "{}", failure(0).log_tail);
    assert!(!failure(0).retryable);
    // What can be built is built all the same.
    assert_eq!(build.results[1].state(), State::Succeeded);
    assert!(failure(2).message.contains("there is no file empty/Dockerfile"), "{}", failure(2).message);
    assert_eq!(failure(3).reason(), Reason::RegistryUnavailable);
    assert!(failure(3).retryable && failure(3).action.contains("python:3.11-slim"), "{:?}", failure(3));
    assert!(
        failure(4).message.contains("Dockerfile line 1: `dir:/etc` is not an image name"),
        "{}",
        failure(4).message
    );
    assert!(failure(5).message.contains("step 2/2 (COPY missing /x)"), "{}", failure(5).message);
    assert!(failure(6).message.contains("context `absent` is not a folder"), "{}", failure(6).message);
    let whole = build.failure.clone().unwrap();
    assert!(whole.message.contains("6 of 7 images failed"), "{}", whole.message);

    let tag = TagBuildRequest { name: "builds/b-1".into(), tag: "v1".into() };
    assert_eq!(service.client.clone().tag_build(tag).await.unwrap_err().code(), Code::FailedPrecondition);
    // Other builds of this machine may have containers in the store at this moment.
    eventually("no container stays", || world.containers().is_empty()).await;
}

#[tokio::test]
async fn a_canceled_build_leaves_nothing() {
    let world = World::new().await;
    let service = world.start().await;
    let marker = format!("3{}", std::process::id());
    let slow = format!("FROM python:3.11-slim\nRUN echo {} && sleep {marker}\n", unique(world.folder.path()));
    let source = world.source(&[("slow/Dockerfile", &slow)]).await;
    service.create("b-1", &source, vec![image("slow", "slow")]).await;
    eventually("the step runs", || sleeps(&marker)).await;
    let request = CancelBuildRequest { name: "builds/b-1".into() };
    for _ in 0..2 {
        service.client.clone().cancel_build(request.clone()).await.unwrap();
    }
    let build = service.ended("b-1").await;
    assert_eq!((build.state(), build.results[0].state()), (State::Canceled, State::Canceled), "{build:#?}");
    assert_eq!(build.failure.unwrap().reason(), Reason::Canceled);
    assert!(!sleeps(&marker));
    eventually("its container is gone", || world.containers().is_empty()).await;
}

#[tokio::test]
async fn an_unreachable_registry_can_be_tried_again() {
    let world = World::new().await;
    let service = world.start().await;
    let source = world.source(&[("i/Dockerfile", "FROM scratch\nCOPY Dockerfile /x\n")]).await;
    // Nobody listens on a port that was just given back.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let build = Build {
        source: Some(source),
        registry: format!("{free}/team"),
        insecure: true,
        images: vec![image("i", "i")],
        ..Build::default()
    };
    let request = CreateBuildRequest { build: Some(build), build_id: "b-1".into(), ..Default::default() };
    service.client.clone().create_build(request).await.unwrap();
    let failure = service.ended("b-1").await.failure.unwrap();
    assert_eq!(failure.reason(), Reason::RegistryUnavailable, "{failure:?}");
    assert!(failure.retryable && failure.message.contains(&free.to_string()), "{failure:?}");
}

#[tokio::test]
async fn hostile_requests_are_refused_before_anything_is_kept() {
    let world = World::new().await;
    let service = world.start().await;
    let source = world.source(&[("i/Dockerfile", "FROM scratch\n")]).await;
    type Change = fn(&mut ImageSpec);
    let cases: [(&str, Change); 4] = [
        ("build.images[0].context", |i| i.context = "../../etc".into()),
        ("build.images[0].include[0]", |i| i.include = vec!["/etc".into()]),
        ("build.images[0].dockerfile", |i| i.dockerfile = "../Dockerfile".into()),
        ("build.images[0].name", |i| i.name = "../x".into()),
    ];
    for (field, change) in cases {
        let mut spec = image("i", "i");
        change(&mut spec);
        let build = Build { source: Some(source.clone()), images: vec![spec], ..Build::default() };
        let request = CreateBuildRequest { build: Some(build), build_id: "b-1".into(), ..Default::default() };
        let status = service.client.clone().create_build(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(kfops_rpc::failure_of(&status).resource, field);
    }
    let request = CreateBuildRequest { build: None, build_id: "$(touch x)".into(), ..Default::default() };
    assert_eq!(service.client.clone().create_build(request).await.unwrap_err().code(), Code::InvalidArgument);
    let listed = service.client.clone().list_builds(kfops_proto::build::ListBuildsRequest::default()).await.unwrap();
    assert!(listed.into_inner().builds.is_empty());
}

fn sleeps(marker: &str) -> bool {
    std::process::Command::new("pgrep").args(["-f", &format!("^sleep {marker}$")]).output().unwrap().status.success()
}
