//! One suite for every store: what is promised holds over a folder, over S3, and over the real thing.

use std::{path::Path, time::Duration};

use http::Method;
use kfops_core::{Digest, Reason};
use kfops_settings::HumanDuration;
use kfops_store::{
    CredentialFiles, SourceRef, Store, StoreOptions, StoreSettings, digest_folder, digest_stored, extract_source,
    get_folder, put_folder,
};
use object_store::{
    aws::{AmazonS3, AmazonS3Builder},
    path::Path as Key,
    signer::Signer as _,
};

use crate::server::Server;

/// Keys that a store must take, and give back from a list as they are.
const ODD: [&str; 10] = [
    "odd/with space",
    "odd/plus+and&and=",
    "odd/percent%20and%2F",
    "odd/hash#and?query",
    "odd/ünï/çødé-日本",
    "odd/brackets[1]{2}(3)",
    "odd/quote'\"`",
    "odd/star*~!$,;:@",
    "odd/pipe|caret^",
    "odd/...dots..",
];

pub(crate) async fn conforms(store: &Store, work: &Path) {
    objects(store).await;
    odd_keys(store).await;
    wrong_keys(store).await;
    lists(store).await;
    files(store, work).await;
    writers(store).await;
    folders(store, work).await;
    assert_eq!(store.list("").await.unwrap(), Vec::<String>::new(), "something stays behind");
}

async fn objects(store: &Store) {
    assert!(!store.exists("a/b").await.unwrap());
    let failure = store.get("a/b").await.unwrap_err();
    assert_eq!((failure.reason, failure.retryable), (Reason::NotFound, false));
    assert!(failure.message.contains("no object a/b in the store"), "{failure}");
    store.delete("a/b").await.unwrap();
    store.put("a/b", "one").await.unwrap();
    store.put("a/b", "second").await.unwrap();
    assert_eq!(store.get("a/b").await.unwrap(), "second");
    assert_eq!(store.get_end("a/b", 3).await.unwrap(), "ond");
    assert_eq!(store.get_end("a/b", 100).await.unwrap(), "second");
    assert_eq!(store.digest("a/b").await.unwrap(), Digest::of(b"second"));
    assert!(store.exists("a/b").await.unwrap());
    assert!(!store.create("a/b", "third").await.unwrap());
    assert_eq!(store.get("a/b").await.unwrap(), "second");
    assert!(store.create("a/c", "").await.unwrap());
    assert_eq!(store.get("a/c").await.unwrap(), "");
    assert_eq!(store.get_end("a/c", 3).await.unwrap(), "");
    let uri = store.uri("a/b");
    assert_eq!(store.key_of(&uri).as_deref(), Some("a/b"));
    assert_eq!(store.key_of(&uri.replace("a/b", "../b")), None);
    assert_eq!(store.key_of("s3://another-bucket/a/b"), None);
    for key in ["a/b", "a/c", "a/c"] {
        store.delete(key).await.unwrap();
    }
    assert!(!store.exists("a/b").await.unwrap());
}

/// Not asked of the server in this process: it keeps objects in folders, and fails.
async fn a_prefix_is_no_object(store: &Store) {
    store.put("a/b", "x").await.unwrap();
    assert!(!store.exists("a").await.unwrap());
    assert_eq!(store.get("a").await.unwrap_err().reason, Reason::NotFound);
    store.delete("a/b").await.unwrap();
}

async fn odd_keys(store: &Store) {
    for key in ODD {
        store.put(key, key.to_owned()).await.unwrap_or_else(|failure| panic!("{key}: {failure}"));
    }
    for key in ODD {
        assert_eq!(store.get(key).await.unwrap(), key.as_bytes(), "{key}");
    }
    let mut expected = ODD.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(store.list("odd").await.unwrap(), expected);
    for key in ODD {
        store.delete(key).await.unwrap();
        assert!(!store.exists(key).await.unwrap(), "{key}");
    }
}

async fn wrong_keys(store: &Store) {
    let long = "x/".repeat(600);
    for key in ["", "/", "a//b", "a/../b", "./a", "a\nb", long.trim_end_matches('/')] {
        let failure = store.put(key, "x").await.unwrap_err();
        assert_eq!((failure.reason, failure.retryable), (Reason::InvalidArgument, false), "{key:?}: {failure}");
        assert!(!failure.message.contains('\n'), "{failure}");
    }
    if store.url().starts_with("s3:") {
        // SeaweedFS would keep it as a/b.
        assert_eq!(store.put("a\\b", "x").await.unwrap_err().reason, Reason::InvalidArgument);
    }
}

async fn lists(store: &Store) {
    // More than one page.
    let keys: Vec<String> = (0..1005).map(|n| format!("many/{n:04}")).collect();
    for some in keys.chunks(50) {
        let puts = some.iter().map(|key| store.put(key, "x"));
        for put in futures::future::join_all(puts).await {
            put.unwrap();
        }
    }
    store.put("many-more/x", "x").await.unwrap();
    assert_eq!(store.list("many").await.unwrap(), keys);
    assert_eq!(store.list("none").await.unwrap(), Vec::<String>::new());
    assert_eq!(store.list("many/0001").await.unwrap(), Vec::<String>::new(), "a key is not below itself");
    for some in keys.chunks(50) {
        for deleted in futures::future::join_all(some.iter().map(|key| store.delete(key))).await {
            deleted.unwrap();
        }
    }
    assert_eq!(store.list("").await.unwrap(), ["many-more/x"]);
    store.delete("many-more/x").await.unwrap();
}

async fn files(store: &Store, work: &Path) {
    let file = work.join("file");
    // Nothing, less than a piece, exactly one piece, exactly two, and some more.
    for size in [0, 1000, 8 << 20, 16 << 20, (25 << 20) + 3] {
        let bytes: Vec<u8> = (0..size).map(|i: usize| (i * 31 % 253) as u8).collect();
        std::fs::write(&file, &bytes).unwrap();
        store.put_file("files/one", &file).await.unwrap();
        let back = work.join("back");
        store.get_file("files/one", &back).await.unwrap();
        assert!(std::fs::read(&back).unwrap() == bytes, "{size} bytes came back as others");
        assert_eq!(store.digest("files/one").await.unwrap(), Digest::of(&bytes));
    }
    let bytes: Vec<u8> = (0..20 << 20).map(|i: usize| (i * 17 % 251) as u8).collect();
    store.put("files/one", bytes.clone()).await.unwrap();
    assert!(store.get("files/one").await.unwrap() == bytes, "20 MiB came back as others");
    assert_eq!(store.get_end("files/one", 5).await.unwrap().len(), 5);
    store.delete("files/one").await.unwrap();
    assert_eq!(store.get_file("files/one", &work.join("none")).await.unwrap_err().reason, Reason::NotFound);
}

async fn writers(store: &Store) {
    let texts: Vec<String> = (0..8).map(|n| n.to_string().repeat(200_000)).collect();
    let puts = texts.iter().map(|text| store.put("raced/put", text.clone()));
    for put in futures::future::join_all(puts).await {
        put.unwrap();
    }
    let kept = store.get("raced/put").await.unwrap();
    assert!(texts.iter().any(|text| kept == text.as_bytes()), "a mixture of several writers is kept");
    store.delete("raced/put").await.unwrap();
}

async fn folders(store: &Store, work: &Path) {
    let model = work.join("model");
    std::fs::create_dir_all(model.join("sub")).unwrap();
    std::fs::write(model.join("sub/b"), "1").unwrap();
    std::fs::write(model.join("sub-a"), "22").unwrap();
    std::fs::write(model.join("large"), vec![7; 9 << 20]).unwrap();
    let stored = put_folder(store, "models/r-1", &model).await.unwrap();
    assert_eq!(stored.uri, store.uri("models/r-1"));
    assert_eq!(stored.digest, digest_folder(&model).unwrap());
    assert_eq!(digest_stored(store, "models/r-1").await.unwrap(), Some(stored.digest.clone()));
    let back = work.join("model-back");
    get_folder(store, "models/r-1", &back).await.unwrap();
    assert_eq!(digest_folder(&back).unwrap(), stored.digest);
    store.put("models/r-1/sub/b", "2").await.unwrap();
    assert_ne!(digest_stored(store, "models/r-1").await.unwrap(), Some(stored.digest));
    for key in store.list("models").await.unwrap() {
        store.delete(&key).await.unwrap();
    }
    assert_eq!(digest_stored(store, "models/r-1").await.unwrap(), None);

    let source = SourceRef { key: "sources/c.tar.gz".into(), digest: Digest::of(b"not this") };
    let failure = extract_source(store, &source, &work.join("out"), kfops_store::ArchiveLimits::default()).await;
    assert_eq!(failure.unwrap_err().reason, Reason::SourceUnavailable);
}

#[tokio::test]
async fn a_folder() {
    let work = tempfile::tempdir().unwrap();
    let store = Store::open(format!("file://{}/store", work.path().display())).unwrap();
    a_prefix_is_no_object(&store).await;
    conforms(&store, work.path()).await;
}

#[tokio::test]
async fn s3() {
    let (server, work) = (Server::start().await, tempfile::tempdir().unwrap());
    conforms(&server.patient("some/prefix"), work.path()).await;
    assert_eq!(server.unfinished_uploads(), 0);
    // A whole bucket.
    objects(&server.patient("")).await;
    odd_keys(&server.patient("")).await;
}

#[tokio::test]
async fn the_real_thing() {
    let Some(real) = Real::find().await else { return };
    let work = tempfile::tempdir().unwrap();
    a_prefix_is_no_object(&real.store).await;
    conforms(&real.store, work.path()).await;
    real.remove().await;
}

/// A store in a bucket of its own in the S3 of the test cluster.
pub(crate) struct Real {
    pub(crate) store: Store,
    pub(crate) options: StoreOptions,
    bucket: AmazonS3,
    /// The files with its keys.
    _keys: tempfile::TempDir,
}

impl Real {
    /// None where there is none.
    pub(crate) async fn find() -> Option<Self> {
        let Ok(endpoint) = std::env::var("KFOPS_TEST_S3") else {
            println!("skipped: no S3 (KFOPS_TEST_S3)");
            return None;
        };
        let [id, key] =
            ["KFOPS_TEST_S3_ACCESS_KEY", "KFOPS_TEST_S3_SECRET_KEY"].map(|name| std::env::var(name).unwrap());
        let region = std::env::var("KFOPS_TEST_S3_REGION").unwrap_or_else(|_| "us-east-1".to_owned());
        let keys = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = keys.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let credentials = CredentialFiles {
            access_key_id_file: file("id", &id),
            secret_access_key_file: file("key", &key),
            session_token_file: None,
        };
        let name = format!("kfops-test-{}", uuid::Uuid::new_v4().simple());
        let bucket = AmazonS3Builder::new()
            .with_endpoint(&endpoint)
            .with_region(&region)
            .with_allow_http(true)
            .with_bucket_name(&name)
            .with_access_key_id(id)
            .with_secret_access_key(key)
            .build()
            .unwrap();
        let options = StoreOptions {
            endpoint: Some(endpoint),
            region: Some(region),
            allow_http: true,
            timeout: HumanDuration::from_secs(60),
            credentials: Some(credentials),
            ..StoreOptions::at(format!("s3://{name}/some/prefix"))
        };
        let store = Store::open(StoreSettings(options.clone())).unwrap();
        let real = Self { store, options, bucket, _keys: keys };
        real.ask(Method::PUT).await;
        Some(real)
    }

    /// Makes or removes the bucket.
    async fn ask(&self, method: Method) {
        let url = self.bucket.signed_url(method.clone(), &Key::default(), Duration::from_secs(60)).await.unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = http.request(method.clone(), url).send().await.unwrap();
        assert!(answer.status().is_success(), "{method} bucket: {answer:?}");
    }

    /// Removes the bucket; it must be empty.
    pub(crate) async fn remove(self) {
        self.ask(Method::DELETE).await;
    }
}
