//! Signed URLs: they let one object in or out, for a while, and print without their key.

use std::time::Duration;

use kfops_core::Reason;
use kfops_store::Store;

use crate::{conformance::Real, server::Server};

const VALID: Duration = Duration::from_secs(300);

#[tokio::test]
async fn one_object_without_credentials() {
    let server = Server::start().await;
    gives_and_takes(&server.patient("p")).await;
}

#[tokio::test]
async fn the_real_thing() {
    let Some(real) = Real::find().await else { return };
    gives_and_takes(&real.store).await;
    real.remove().await;
}

/// As a pod would: plain HTTP, no credentials.
async fn gives_and_takes(store: &Store) {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let work = tempfile::tempdir().unwrap();
    let file = work.path().join("c.tar.gz");
    // In one piece, and in parts.
    for size in [100_000, 20 << 20] {
        std::fs::write(&file, vec![5; size]).unwrap();
        store.put_file("sources/o r/c+1.tar.gz", &file).await.unwrap();
        let url = store.signed_get("sources/o r/c+1.tar.gz", VALID).await.unwrap();
        let answer = http.get(url.expose()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "application/gzip");
        assert_eq!(answer.headers()["content-length"], size.to_string().as_str());
        assert!(!answer.headers().contains_key("content-encoding"), "a client would unpack it");
        assert_eq!(answer.bytes().await.unwrap().len(), size);
        // For another object, or another method, it is worth nothing.
        let other = url.expose().replace("c%2B1", "c%2B2");
        assert_ne!(other, url.expose());
        assert_eq!(http.get(&other).send().await.unwrap().status(), 403);
        assert_eq!(http.put(url.expose()).body("x").send().await.unwrap().status(), 403);
        assert_eq!(http.delete(url.expose()).send().await.unwrap().status(), 403);
    }
    let url = store.signed_put("out/digest.json", VALID).await.unwrap();
    let answer = http.put(url.expose()).body("{}").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(store.get("out/digest.json").await.unwrap(), "{}");
    assert_eq!(http.get(url.expose()).send().await.unwrap().status(), 403);

    let url = store.signed_get("out/digest.json", Duration::from_secs(1)).await.unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while http.get(url.expose()).send().await.unwrap().status() != 403 {
        assert!(tokio::time::Instant::now() < deadline, "it is valid for ever");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for key in store.list("").await.unwrap() {
        store.delete(&key).await.unwrap();
    }
}

#[tokio::test]
async fn the_key_in_it_is_not_printed() {
    let server = Server::start().await;
    let url = server.store("p").signed_get("a/b", VALID).await.unwrap();
    assert!(url.expose().contains("X-Amz-Signature="));
    let printed = format!("{url} {url:?} {:?}", Some(url.clone()));
    assert!(printed.contains("/kfops-test/p/a/b?…"), "{printed}");
    assert!(!printed.contains("X-Amz") && !printed.contains("test-id"), "{printed}");
    assert!(server.log().is_empty(), "signing asks nobody");
}

#[tokio::test]
async fn what_cannot_be_signed() {
    let server = Server::start().await;
    let store = server.store("p");
    for valid in [Duration::ZERO, Duration::from_millis(900), kfops_store::LONGEST_VALID + Duration::from_secs(1)] {
        let failure = store.signed_get("k", valid).await.unwrap_err();
        assert_eq!(failure.reason, Reason::InvalidArgument);
    }
    assert_eq!(store.signed_put("../k", VALID).await.unwrap_err().reason, Reason::InvalidArgument);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(format!("file://{}", folder.path().display())).unwrap();
    let failure = store.signed_get("k", VALID).await.unwrap_err();
    assert_eq!((failure.reason, failure.retryable), (Reason::InvalidArgument, false));
    assert!(failure.message.contains("is a folder") && failure.action.contains("s3://"), "{failure:?}");
}
