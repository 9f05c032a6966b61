//! A cancel reaches a build wherever it is.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use kfops_proto::{
    build::{Build, CreateBuildRequest, State},
    common::{Reason, SourceArchive},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

use crate::world::{Running, World, eventually, image, unique};

/// What a registry that hangs still answers.
#[derive(Clone, Copy, PartialEq)]
enum Hangs {
    /// Nothing.
    Always,
    /// That it has nothing; what is sent to it, it takes for ever.
    AtPush,
}

/// A registry that hangs; how many requests hang there.
async fn hanging_registry(hangs: Hangs) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let hanging = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&hanging);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, hangs, Arc::clone(&count)));
        }
    });
    (address, hanging)
}

async fn answer(mut stream: TcpStream, hangs: Hangs, hanging: Arc<AtomicUsize>) {
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read).lines();
    let Ok(Some(request)) = lines.next_line().await else { return };
    while lines.next_line().await.is_ok_and(|line| line.is_some_and(|line| !line.is_empty())) {}
    let status = match request.split_whitespace().collect::<Vec<_>>()[..] {
        ["GET", "/v2/", _] if hangs == Hangs::AtPush => "200 OK",
        ["GET" | "HEAD", ..] if hangs == Hangs::AtPush => "404 Not Found",
        _ => {
            hanging.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
            return;
        }
    };
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    write.write_all(answer.as_bytes()).await.ok();
}

async fn create_in(service: &Running, id: &str, registry: &str, source: &SourceArchive) {
    let build = Build {
        source: Some(source.clone()),
        registry: format!("{registry}/team"),
        insecure: true,
        images: vec![image("i", "i")],
        ..Build::default()
    };
    let request = CreateBuildRequest { build: Some(build), build_id: id.into(), ..Default::default() };
    service.client.clone().create_build(request).await.unwrap();
}

fn assert_canceled(build: &Build) {
    assert_eq!(build.state(), State::Canceled, "{build:#?}");
    assert_eq!(build.failure.as_ref().unwrap().reason(), Reason::Canceled);
    assert!(build.results.iter().all(|r| r.state() == State::Canceled && r.end_time.is_some()), "{build:#?}");
}

#[tokio::test]
async fn a_cancel_reaches_a_step_and_those_who_wait_for_a_slot() {
    let mut world = World::new().await;
    world.settings.parallel = 1;
    let service = world.start().await;
    // Ignores SIGTERM, and has a child in another session.
    let script = format!("wait-{}.sh", unique(world.folder.path()));
    let dockerfile = format!("FROM python:3.11-slim\nCOPY {script} /\nRUN sh /{script}\n");
    let path = format!("i/{script}");
    let body = "trap '' TERM\nsetsid sleep 1000 &\nsleep 1000\nsleep 1000\n";
    let source = world.source(&[("i/Dockerfile", &dockerfile), (&path, body)]).await;
    service.create("b-1", &source, vec![image("i", "i")]).await;
    let runs = || {
        let pattern = format!("^sh /{script}$");
        std::process::Command::new("pgrep").args(["-f", &pattern]).output().unwrap().status.success()
    };
    eventually("the step runs", runs).await;

    service.create("b-2", &source, vec![image("i", "i")]).await;
    service.until("b-2", |build| build.state() == State::Running).await;
    assert_canceled(&service.cancel("b-2", "waiting for a slot").await);
    assert!(runs());
    assert_canceled(&service.cancel("b-1", "in a step that ignores SIGTERM").await);
    eventually("the step is gone", || !runs()).await;

    // The slot is free again.
    let source = world.source(&[("i/Dockerfile", "FROM scratch\nCOPY Dockerfile /x\n")]).await;
    service.create("b-3", &source, vec![image("i", "i")]).await;
    service.succeeded("b-3").await;
    eventually("no container stays", || world.containers().is_empty()).await;
}

#[tokio::test]
async fn a_cancel_reaches_those_who_wait_for_a_registry() {
    let world = World::new().await;
    let service = world.start().await;
    let (silent, asked) = hanging_registry(Hangs::Always).await;
    let scratch = world.source(&[("i/Dockerfile", "FROM scratch\nCOPY Dockerfile /x\n")]).await;
    create_in(&service, "known", &silent, &scratch).await;
    eventually("the registry is asked for the image", || asked.load(Ordering::SeqCst) == 1).await;
    assert_canceled(&service.cancel("known", "asking whether the image exists").await);

    let base = world.source(&[("i/Dockerfile", &format!("FROM {silent}/base:1\n"))]).await;
    create_in(&service, "base", &silent, &base).await;
    eventually("the registry is asked for the base", || asked.load(Ordering::SeqCst) == 2).await;
    assert_canceled(&service.cancel("base", "asking for a base image").await);

    let (taking, taken) = hanging_registry(Hangs::AtPush).await;
    create_in(&service, "push", &taking, &scratch).await;
    eventually("the push is under way", || taken.load(Ordering::SeqCst) > 0).await;
    assert_canceled(&service.cancel("push", "pushing").await);
}
