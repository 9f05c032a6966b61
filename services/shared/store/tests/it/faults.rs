//! What can go wrong with S3, and what is said about it: the object, the bucket, and what to do.

use http::Method;
use kfops_core::{Digest, Failure, Reason};
use kfops_store::{CredentialFiles, Store, StoreOptions, StoreSettings, put_folder};

use crate::server::{Asked, BUCKET, Fault, Server};

fn open(options: StoreOptions) -> Store {
    Store::open(StoreSettings(options)).unwrap()
}

/// The failure of reading an object that is there.
async fn reading(server: &Server, times: usize, fault: Fault) -> Failure {
    let store = server.store("p");
    store.put("k/o", "x").await.unwrap();
    server.fault(times, fault, |asked| asked.method == Method::GET);
    let failure = store.get("k/o").await.unwrap_err();
    server.fault(0, Fault::Hang, |_| true);
    failure
}

fn says(failure: &Failure, words: &[&str], action: &str) {
    assert!(!failure.message.contains('\n'), "{failure}");
    for word in words {
        assert!(failure.message.contains(word), "`{word}` is not in: {failure}");
    }
    assert!(failure.action.contains(action), "{failure:?}");
}

#[tokio::test]
async fn a_busy_store_is_asked_again() {
    let server = Server::start().await;
    let store = server.store("p");
    server.fault(2, Fault::answer(503, "SlowDown"), |_| true);
    store.put("one", "v").await.unwrap();
    server.fault(2, Fault::answer(500, "InternalError"), |_| true);
    assert_eq!(store.get("one").await.unwrap(), "v");
    assert_eq!(server.log().len(), 6);

    let failure = reading(&server, 100, Fault::answer(503, "SlowDown")).await;
    assert_eq!((failure.reason, failure.retryable, failure.resource.as_str()), (Reason::StoreUnavailable, true, "k/o"));
    says(
        &failure,
        &["object k/o of s3://kfops-test/p at http://127.0.0.1:", "overloaded", "503 SlowDown", "tried "],
        "later",
    );
}

#[tokio::test]
async fn a_body_that_breaks_off_is_fetched_from_there_on() {
    let server = Server::start().await;
    let (store, work) = (server.store("p"), tempfile::tempdir().unwrap());
    let bytes: Vec<u8> = (0..3_000_000).map(|i: usize| (i % 251) as u8).collect();
    store.put("k", bytes.clone()).await.unwrap();
    server.fault(2, Fault::Cut(1_000_000), |asked| asked.method == Method::GET);
    assert!(store.get("k").await.unwrap() == bytes);
    let ranges: Vec<Asked> = server.log().into_iter().filter(|asked| asked.headers.contains_key("range")).collect();
    assert_eq!(ranges.len(), 2, "it was not taken up where it broke");
    server.fault(1, Fault::Cut(1_000_000), |asked| asked.method == Method::GET);
    let file = work.path().join("f");
    store.get_file("k", &file).await.unwrap();
    assert!(std::fs::read(&file).unwrap() == bytes);
    server.fault(1, Fault::Cut(1_000_000), |asked| asked.method == Method::GET);
    assert_eq!(store.digest("k").await.unwrap(), Digest::of(&bytes));

    server.fault(100, Fault::Cut(10), |asked| asked.method == Method::GET);
    let failure = store.get("k").await.unwrap_err();
    assert_eq!((failure.reason, failure.retryable), (Reason::StoreUnavailable, true));
    says(&failure, &["object k of s3://kfops-test/p", "broke"], "try again");
}

#[tokio::test]
async fn a_silent_store_is_not_waited_for_for_ever() {
    let server = Server::start().await;
    let began = std::time::Instant::now();
    let failure = reading(&server, 100, Fault::Hang).await;
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    assert!(failure.retryable);
    says(&failure, &["object k/o", "is silent for too long"], "store.timeout");
}

#[tokio::test]
async fn keys_that_are_wrong() {
    let server = Server::start().await;
    server.store("p").put("one", "v").await.unwrap();
    let with =
        |credentials: CredentialFiles| open(StoreOptions { credentials: Some(credentials), ..server.options("p") });
    let failure = with(server.keys("test-id", "another-key")).get("one").await.unwrap_err();
    assert_eq!((failure.reason, failure.retryable), (Reason::StoreUnavailable, false));
    says(
        &failure,
        &["object one of s3://kfops-test/p", "secret key does not belong", "SignatureDoesNotMatch"],
        "secret",
    );
    assert!(!format!("{failure:?}").contains("another-key"));
    let failure = with(server.keys("nobody", "key")).put("one", "v").await.unwrap_err();
    says(&failure, &["the store does not know the keys in ", "NotSignedUp"], "keys that the store knows");

    let failure = reading(&server, 1, Fault::answer(403, "AccessDenied")).await;
    assert!(!failure.retryable);
    says(&failure, &["access denied for the keys in", "because of AccessDenied"], "s3:GetObject");
    let failure = reading(&server, 1, Fault::answer(400, "ExpiredToken")).await;
    assert!(failure.retryable);
    says(&failure, &["expired"], "renew");
}

#[tokio::test]
async fn keys_that_change_are_read_again() {
    let server = Server::start().await;
    let keys = server.keys("test-id", "old-key");
    let store = open(StoreOptions { credentials: Some(keys.clone()), ..server.options("p") });
    store.put("k", "v").await.unwrap_err();
    std::fs::write(&keys.secret_access_key_file, "test-secret-key").unwrap();
    store.put("k", "v").await.unwrap();
    std::fs::remove_file(&keys.secret_access_key_file).unwrap();
    let failure = store.put("k", "v").await.unwrap_err();
    says(&failure, &["object k of", "credentials of the object store", "No such file"], "");
}

#[tokio::test]
async fn clocks_that_differ() {
    let server = Server::start().await;
    server.shift_date(3600);
    let failure = reading(&server, 1, Fault::answer(403, "RequestTimeTooSkewed")).await;
    assert!(failure.retryable);
    says(&failure, &["clocks", "differ by", " min (the store's is ahead)"], "NTP");
    // Some stores call it a wrong signature, and HEAD has no body at all.
    let failure = reading(&server, 1, Fault::answer(403, "SignatureDoesNotMatch")).await;
    says(&failure, &["clocks", "SignatureDoesNotMatch"], "NTP");
    server.fault(1, Fault::answer(403, ""), |asked| asked.method == Method::HEAD);
    let failure = server.store("p").exists("k").await.unwrap_err();
    says(&failure, &["clocks", "(403)"], "NTP");
}

#[tokio::test]
async fn a_bucket_that_is_missing_or_elsewhere() {
    let server = Server::start().await;
    let options = StoreOptions { url: "s3://no-such-bucket/p".into(), ..server.options("p") };
    let store = open(options);
    // The server would take a bucket for a folder: it makes it for a write, and finds no object in it.
    server.fault(3, Fault::answer(404, "NoSuchBucket"), |_| true);
    for failure in
        [store.get("k").await.unwrap_err(), store.put("k", "v").await.unwrap_err(), store.list("k").await.unwrap_err()]
    {
        assert_eq!((failure.reason, failure.retryable), (Reason::StoreUnavailable, false), "{failure}");
        says(&failure, &["there is no bucket no-such-bucket", "NoSuchBucket"], "make the bucket");
    }

    let moved = |status| Fault::Answer {
        status,
        code: "PermanentRedirect",
        header: Some(("x-amz-bucket-region", "eu-central-1".into())),
    };
    for status in [301, 400] {
        let code = if status == 400 { "AuthorizationHeaderMalformed" } else { "PermanentRedirect" };
        let Fault::Answer { header, .. } = moved(status) else { unreachable!() };
        let failure = reading(&server, 1, Fault::Answer { status, code, header }).await;
        assert!(!failure.retryable);
        says(&failure, &["the bucket is in region eu-central-1, not us-east-1"], "store.region: eu-central-1");
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_reached() {
    let server = Server::start().await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let at = |endpoint: String| open(StoreOptions { endpoint: Some(endpoint), ..server.options("p") });
    let failure = at(format!("http://{closed}")).get("k").await.unwrap_err();
    assert!(failure.retryable);
    says(
        &failure,
        &["object k of s3://kfops-test/p", &format!("http://{closed} cannot be reached: Connection refused"), "tried"],
        "NetworkPolicy",
    );
    let failure = at("http://nobody.invalid:9000".into()).get("k").await.unwrap_err();
    says(&failure, &["the name in http://nobody.invalid:9000 is not known"], "DNS");
    let failure = at(server.endpoint.replace("http:", "https:")).get("k").await.unwrap_err();
    says(&failure, &["does not speak TLS"], "store.allow_http");
    let web = reading(&server, 1, Fault::answer(405, "MethodNotAllowed")).await;
    says(&web, &["cannot do this"], "store.endpoint");
}

#[tokio::test]
async fn an_upload_that_fails_leaves_nothing() {
    let server = Server::start().await;
    let (store, work) = (server.patient("p"), tempfile::tempdir().unwrap());
    let file = work.path().join("large");
    std::fs::write(&file, vec![1; 30 << 20]).unwrap();
    server.fault(1, Fault::answer(403, "AccessDenied"), |asked| asked.target.contains("partNumber=3"));
    let failure = store.put_file("k", &file).await.unwrap_err();
    says(&failure, &["object k", "access denied"], "s3:AbortMultipartUpload");
    assert!(!store.exists("k").await.unwrap());
    until(|| server.unfinished_uploads() == 0).await;

    // And one that nobody waits for any more.
    server.fault(1, Fault::Hang, |asked| asked.target.contains("partNumber=2"));
    let put = store.put_file("k", &file);
    let hangs =
        async { until(|| server.log().iter().filter(|asked| asked.target.contains("partNumber=2")).count() > 1).await };
    tokio::select! {
        _ = put => panic!("it ended"),
        () = hangs => {}
    }
    until(|| server.log().iter().filter(|asked| asked.method == Method::DELETE).count() >= 2).await;
    until(|| server.unfinished_uploads() == 0).await;
    assert!(!store.exists("k").await.unwrap());
}

#[tokio::test]
async fn an_upload_whose_answer_is_lost_is_found() {
    let server = Server::start().await;
    let (store, work) = (server.patient("p"), tempfile::tempdir().unwrap());
    let file = work.path().join("large");
    std::fs::write(&file, vec![1; 17 << 20]).unwrap();
    let completes = |asked: &Asked| asked.method == Method::POST && asked.target.contains("uploadId=");
    server.fault(1, Fault::Lose, completes);
    server.fault(1, Fault::answer(404, "NoSuchUpload"), completes);
    store.put_file("k", &file).await.unwrap();
    assert_eq!(store.get("k").await.unwrap().len(), 17 << 20);

    // Another's object is not taken for it.
    server.fault(1, Fault::answer(404, "NoSuchUpload"), completes);
    let failure = store.put_file("k", &file).await.unwrap_err();
    assert_eq!((failure.reason, failure.retryable), (Reason::StoreUnavailable, true), "{failure}");
    says(&failure, &["the store has forgotten its upload"], "try again");

    // A part that is lost is sent again.
    server.fault(1, Fault::Lose, |asked| asked.target.contains("partNumber=2"));
    store.put_file("k2", &file).await.unwrap();
    assert_eq!(store.get("k2").await.unwrap().len(), 17 << 20);
}

#[tokio::test]
async fn two_that_create_one_object_at_once() {
    let server = Server::start().await;
    let store = server.store("p");
    // AWS says so while another one writes; nobody knows yet who was first.
    server.fault(1, Fault::answer(409, "ConditionalRequestConflict"), |_| true);
    let failure = store.create("k", "v").await.unwrap_err();
    assert_eq!((failure.reason, failure.retryable), (Reason::StoreUnavailable, true), "{failure}");
    assert!(store.create("k", "v").await.unwrap());
    let asked = server.log().pop().unwrap();
    assert_eq!(asked.headers["if-none-match"], "*");
}

#[tokio::test]
async fn a_folder_of_a_model_is_whole_or_a_failure() {
    let server = Server::start().await;
    let work = tempfile::tempdir().unwrap();
    std::fs::write(work.path().join("a"), "1").unwrap();
    std::fs::write(work.path().join("b"), "2").unwrap();
    server.fault(1, Fault::answer(403, "AccessDenied"), |asked| asked.target.ends_with("/b"));
    let failure = put_folder(&server.store("p"), "models/r", work.path()).await.unwrap_err();
    says(&failure, &["object models/r/b of s3://kfops-test/p"], "");
}

#[test]
fn settings_that_cannot_be() {
    let error = |options: StoreOptions| Store::open(StoreSettings(options)).unwrap_err();
    let at = |url: &str| StoreOptions::at(url);
    for (url, why) in [
        ("s3://", "3 to 63"),
        ("s3://UPPER/x", "3 to 63"),
        ("s3://a..b/x", "3 to 63"),
        ("s3://bucket/a//b", "empty"),
        ("s3://bucket/a?x=1", "query"),
        ("http://bucket", "is not of the form file:///folder or s3://bucket/prefix"),
        ("file://relative", "is not of the form"),
    ] {
        let failure = error(at(url));
        assert_eq!(failure.reason, Reason::InvalidArgument, "{url}");
        assert!(failure.message.contains(why), "{url}: {failure}");
    }
    let s3 = || at(&format!("s3://{BUCKET}"));
    let failure = error(StoreOptions { endpoint: Some("http://minio:9000".into()), ..s3() });
    says(&failure, &["it is http"], "store.allow_http");
    let failure = error(StoreOptions { endpoint: Some("https://me:secret@minio".into()), ..s3() });
    assert!(!failure.message.contains("secret"), "{failure}");
    let failure = error(StoreOptions { endpoint: Some("minio:9000".into()), ..s3() });
    says(&failure, &["begins with neither https:// nor http://"], "");
    let failure = error(StoreOptions { region: Some("eu west".into()), ..s3() });
    says(&failure, &["is no region"], "");
    let failure = error(StoreOptions { ca_file: Some("/nonexistent/ca.pem".into()), ..s3() });
    says(&failure, &["/nonexistent/ca.pem", "No such file"], "");
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().display());
    let failure = error(StoreOptions { region: Some("x".into()), ..at(&url) });
    says(&failure, &["is a folder: settings of S3 mean nothing for it"], "");
}

async fn until(mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "it does not come about");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}
