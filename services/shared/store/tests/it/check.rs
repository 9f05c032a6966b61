//! The readiness check: it uses the store as Kfops does, and says in one line what is wrong.

use http::Method;
use kfops_store::{Store, StoreOptions, StoreSettings};

use crate::{
    conformance::Real,
    server::{Fault, Server},
};

#[tokio::test]
async fn a_store_that_works() {
    let server = Server::start().await;
    let store = server.store("p");
    let health = store.check().await.unwrap();
    assert!(health.creates_once && health.clock_ahead.is_some_and(|ahead| ahead.abs() <= 2), "{health:?}");
    assert!(health.warnings().is_empty());
    assert!(health.to_string().starts_with("s3://kfops-test/p takes, gives, lists and removes objects ("), "{health}");
    assert_eq!(store.list("").await.unwrap(), Vec::<String>::new());

    let folder = tempfile::tempdir().unwrap();
    let health = Store::open(format!("file://{}", folder.path().display())).unwrap().check().await.unwrap();
    assert!(health.creates_once && health.clock_ahead.is_none(), "{health:?}");
}

#[tokio::test]
async fn the_real_thing() {
    let Some(real) = Real::find().await else { return };
    let health = real.store.check().await.unwrap();
    println!("{health}");
    assert!(health.warnings().is_empty(), "{health}");
    // Not by a write: SeaweedFS makes the bucket for one whose keys may.
    let missing = StoreOptions { url: "s3://no-such-bucket-of-kfops/p".into(), ..real.options.clone() };
    let failure = Store::open(StoreSettings(missing)).unwrap().get("k").await.unwrap_err();
    println!("{failure}; {}", failure.action);
    assert!(failure.message.contains("there is no bucket no-such-bucket-of-kfops"), "{failure}");
    real.remove().await;
}

#[tokio::test]
async fn clocks_that_are_apart_are_a_warning() {
    let server = Server::start().await;
    server.shift_date(-300);
    let health = server.store("p").check().await.unwrap();
    let ahead = health.clock_ahead.unwrap();
    assert!((-302..=-298).contains(&ahead), "{ahead}");
    assert!(
        health.to_string().contains("clocks differ by 30") || health.to_string().contains("clocks differ by 29"),
        "{health}"
    );
    assert!(health.to_string().contains("(the store's is behind)"), "{health}");
}

#[tokio::test]
async fn each_thing_that_it_may_not_do_is_named() {
    for (method, query, what) in [
        (Method::PUT, "", "cannot write to the object store: object kfops-check/"),
        (Method::GET, "kfops-check", "cannot read from the object store: object kfops-check/"),
        (Method::GET, "list-type=2", "cannot list the object store: object kfops-check of"),
        (Method::DELETE, "", "cannot remove from the object store: object kfops-check/"),
    ] {
        let server = Server::start().await;
        server.fault(1, Fault::answer(403, "AccessDenied"), move |asked| {
            asked.method == method
                && asked.target.contains(query)
                && (query != "kfops-check" || !asked.target.contains("list-type"))
        });
        let store = server.store("p");
        let failure = store.check().await.unwrap_err();
        assert!(failure.message.starts_with(what), "{what}: {failure}");
        assert!(failure.message.contains("access denied") && failure.action.contains("s3:ListBucket"), "{failure:?}");
        assert_eq!(store.list("").await.unwrap(), Vec::<String>::new(), "{what}: something stays behind");
    }
}
