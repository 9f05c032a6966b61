//! Which endpoint, which credentials: settings first, then the environment.

use std::time::Duration;

use kfops_core::Reason;

use crate::{Store, StoreOptions, WebIdentity};

const VALID: Duration = Duration::from_secs(60);
const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKID"), ("AWS_SECRET_ACCESS_KEY", "hush")];

fn open(options: &StoreOptions, environment: &[(&str, &str)]) -> Result<Store, kfops_core::Failure> {
    let value = |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
    Store::open_in(options, &value)
}

/// Where a store sends its requests, by a URL that it signs.
async fn place(options: StoreOptions, more: &[(&str, &str)]) -> String {
    let store = open(&options, &[&KEYS, more].concat()).unwrap();
    store.signed_get("k", VALID).await.unwrap().expose().to_owned()
}

#[tokio::test]
async fn the_bucket_stands_where_the_store_wants_it() {
    let at = StoreOptions::at;
    let endpoint = |url: &str| Some(url.to_owned());
    let minio = StoreOptions { endpoint: endpoint("https://minio:9000/"), ..at("s3://kfops/p") };
    for (options, expected) in [
        (at("s3://kfops/p"), "https://kfops.s3.us-east-1.amazonaws.com/p/k?"),
        (at("s3://kf.ops"), "https://s3.us-east-1.amazonaws.com/kf.ops/k?"),
        (
            StoreOptions { path_style: Some(true), ..at("s3://kfops/p") },
            "https://s3.us-east-1.amazonaws.com/kfops/p/k?",
        ),
        (minio.clone(), "https://minio:9000/kfops/p/k?"),
        (StoreOptions { path_style: Some(false), ..minio }, "https://kfops.minio:9000/p/k?"),
    ] {
        let found = place(options, &[]).await;
        assert!(found.starts_with(expected), "{found} is not {expected}");
    }
    let options = StoreOptions { region: Some("eu-west-1".into()), ..at("s3://kfops") };
    let found = place(options, &[("AWS_REGION", "us-west-2")]).await;
    assert!(found.contains("s3.eu-west-1.") && found.contains("%2Feu-west-1%2Fs3%2F"), "{found}");
    let found = place(at("s3://kfops"), &[("AWS_DEFAULT_REGION", "us-west-2"), ("AWS_REGION", "")]).await;
    assert!(found.contains("s3.us-west-2."), "{found}");
    let found = place(at("s3://kfops"), &[("AWS_ENDPOINT_URL_S3", "https://weed:8333")]).await;
    assert!(found.starts_with("https://weed:8333/kfops/k?"), "{found}");
}

#[tokio::test]
async fn credentials_come_from_where_they_are() {
    let s3 = || StoreOptions::at("s3://kfops/p");
    let failure = open(&s3(), &[]).unwrap_err();
    assert_eq!(failure.reason, Reason::InvalidArgument);
    assert!(
        failure.action.contains("store.credentials") && failure.action.contains("AWS_ACCESS_KEY_ID"),
        "{failure:?}"
    );
    let failure = open(&s3(), &KEYS[..1]).unwrap_err();
    assert!(failure.message.contains("AWS_SECRET_ACCESS_KEY is not"), "{failure}");

    let found = place(s3(), &[("AWS_SESSION_TOKEN", "tok")]).await;
    assert!(found.contains("AKID%2F") && found.contains("X-Amz-Security-Token=tok"), "{found}");
    let store = open(&s3(), &KEYS).unwrap();
    assert!(!format!("{store:?}").contains("hush"), "{store:?}");
    assert_eq!(store.place().identity, "the keys of AWS_ACCESS_KEY_ID");

    let role = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_ROLE_ARN", "arn:aws:iam::1:role/kfops")];
    assert_eq!(open(&s3(), &role).unwrap().place().identity, "the role arn:aws:iam::1:role/kfops");
    let pod = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials"),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/t"),
    ];
    assert_eq!(open(&s3(), &pod).unwrap().place().identity, "the pod's identity");
}

#[tokio::test]
async fn a_role_that_cannot_be_had_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "a-secret-token").unwrap();
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let role = WebIdentity {
        token_file: token,
        role_arn: "arn:aws:iam::1:role/kfops".into(),
        session_name: "kfops".into(),
        sts_endpoint: Some(format!("https://{closed}")),
    };
    let options = StoreOptions {
        web_identity: Some(role.clone()),
        timeout: kfops_settings::HumanDuration::from_secs(1),
        ..StoreOptions::at("s3://kfops/p")
    };
    let failure = open(&options, &[]).unwrap().get("k").await.unwrap_err();
    assert!(failure.retryable && failure.message.contains(&format!("{closed} cannot be reached")), "{failure}");
    assert!(!format!("{failure:?}").contains("a-secret-token"), "{failure:?}");
    let plain = WebIdentity { sts_endpoint: Some("http://sts".into()), ..role };
    let failure = open(&StoreOptions { web_identity: Some(plain), ..options }, &[]).unwrap_err();
    assert!(failure.message.contains("is not https"), "{failure}");
}
