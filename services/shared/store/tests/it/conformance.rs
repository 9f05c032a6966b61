//! One suite for every store: what is promised holds over a folder, over S3, and over the real thing.

use std::path::Path;

use kfops_core::{Digest, Reason};
use kfops_settings::HumanDuration;
use kfops_store::{
    CredentialFiles, SourceRef, Store, StoreOptions, StoreSettings, digest_folder, digest_stored, extract_source,
    get_folder, put_folder,
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
    "odd/back\\slash|pipe^",
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
    assert!(!store.exists("a").await.unwrap(), "a prefix is no object");
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
    conforms(&store, work.path()).await;
}

#[tokio::test]
async fn s3() {
    let (server, work) = (Server::start().await, tempfile::tempdir().unwrap());
    conforms(&server.store("some/prefix"), work.path()).await;
    assert_eq!(server.unfinished_uploads(), 0);
    // A whole bucket.
    objects(&server.store("")).await;
    odd_keys(&server.store("")).await;
}

#[tokio::test]
async fn the_real_thing() {
    let Some(real) = Real::find() else { return };
    let work = tempfile::tempdir().unwrap();
    conforms(&real.store, work.path()).await;
}

/// A store under a prefix of its own in the S3 of the test cluster.
pub(crate) struct Real {
    pub(crate) store: Store,
    pub(crate) options: StoreOptions,
    /// The files with its keys.
    _keys: tempfile::TempDir,
}

impl Real {
    pub(crate) fn find() -> Option<Self> {
        let Ok(endpoint) = std::env::var("KFOPS_TEST_S3") else {
            println!("skipped: no S3 (KFOPS_TEST_S3)");
            return None;
        };
        let keys = tempfile::tempdir().unwrap();
        let file = |name: &str, variable: &str| {
            let path = keys.path().join(name);
            std::fs::write(&path, std::env::var(variable).unwrap()).unwrap();
            path
        };
        let bucket = std::env::var("KFOPS_TEST_S3_BUCKET").unwrap_or_else(|_| "kfops".to_owned());
        let options = StoreOptions {
            endpoint: Some(endpoint),
            allow_http: true,
            timeout: HumanDuration::from_secs(10),
            credentials: Some(CredentialFiles {
                access_key_id_file: file("id", "KFOPS_TEST_S3_ACCESS_KEY"),
                secret_access_key_file: file("key", "KFOPS_TEST_S3_SECRET_KEY"),
                session_token_file: None,
            }),
            ..StoreOptions::at(format!("s3://{bucket}/test-{}", uuid::Uuid::new_v4().simple()))
        };
        let store = Store::open(StoreSettings(options.clone())).unwrap();
        Some(Self { store, options, _keys: keys })
    }
}
