//! A store or a database that refuses: the build fails, can be read, and can be tried again.

use std::time::Duration;

use kfops_proto::{
    build::{Build, CreateBuildRequest, State},
    common::Reason,
};
use tokio::{io::AsyncWriteExt as _, net::TcpListener};
use tokio_util::sync::CancellationToken;

use crate::world::{World, eventually, image};

#[tokio::test]
async fn a_database_that_refuses_fails_the_build_and_shows_it() {
    let world = World::new().await;
    let service = world.start().await;
    // A registry that knows nothing, and says so when it is told to.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let registry = listener.local_addr().unwrap();
    let (asked, go_on) = (CancellationToken::new(), CancellationToken::new());
    let (told, may) = (asked.clone(), go_on.clone());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            told.cancel();
            may.cancelled().await;
            let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.write_all(answer).await.ok();
        }
    });
    let source = world.source(&[("i/Dockerfile", &format!("FROM {registry}/base:1\n"))]).await;
    let build = Build {
        source: Some(source),
        registry: format!("{registry}/team"),
        insecure: true,
        images: vec![image("i", "i")],
        ..Build::default()
    };
    let create =
        |id: &str| CreateBuildRequest { build: Some(build.clone()), build_id: id.into(), ..Default::default() };
    service.client.clone().create_build(create("b-1")).await.unwrap();
    tokio::time::timeout(Duration::from_secs(60), asked.cancelled()).await.unwrap();

    let database = rusqlite::Connection::open(world.settings.state.join("image-builder.db")).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    go_on.cancel();
    let ended = service.ended("b-1").await;
    let failure = ended.failure.clone().unwrap();
    assert_eq!((ended.state(), failure.reason()), (State::Failed, Reason::StoreUnavailable), "{failure:?}");
    assert!(failure.retryable && failure.resource == "builds/b-1", "{failure:?}");
    assert_eq!(ended.results[0].state(), State::Failed);
    assert_eq!(service.get("b-1").await, ended);
    // A new one is refused, not forgotten halfway.
    assert_eq!(service.client.clone().create_build(create("b-2")).await.unwrap_err().code(), tonic::Code::Unavailable);

    database.execute_batch("ROLLBACK").unwrap();
    let kept =
        || -> bool { database.query_row("SELECT ended FROM builds WHERE id = 'b-1'", [], |row| row.get(0)).unwrap() };
    eventually("the end is kept", kept).await;
    service.kill();
    let service = world.start().await;
    assert_eq!(service.get("b-1").await, ended);
}
