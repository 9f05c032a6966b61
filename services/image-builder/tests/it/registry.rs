//! The embedded registry as the OCI distribution specification has it.

use kfops_core::Digest;
use kfops_image_builder::{EmbeddedRegistrySettings, registry};
use reqwest::{Client, StatusCode, header::LOCATION};
use tokio_util::sync::CancellationToken;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

struct Server {
    folder: tempfile::TempDir,
    base: String,
    client: Client,
    stop: CancellationToken,
}

impl Server {
    async fn start(folder: tempfile::TempDir) -> Self {
        let stop = CancellationToken::new();
        let settings = EmbeddedRegistrySettings {
            listen: "127.0.0.1:0".into(),
            folder: folder.path().to_owned(),
            ..Default::default()
        };
        let handle = registry::Registry::start(&settings, stop.clone()).await.unwrap();
        Self { folder, base: format!("http://{}", handle.host()), client: Client::new(), stop }
    }

    fn url(&self, path: &str) -> String {
        if path.starts_with('/') { format!("{}{path}", self.base) } else { format!("{}/v2/{path}", self.base) }
    }

    async fn begin(&self, name: &str) -> String {
        let response = self.client.post(self.url(&format!("{name}/blobs/uploads/"))).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        response.headers()[LOCATION].to_str().unwrap().to_owned()
    }

    async fn push(&self, name: &str, bytes: &'static [u8]) -> Digest {
        let digest = Digest::of(bytes);
        let location = self.begin(name).await;
        let url = format!("{}?digest={}", self.url(&location), digest.as_str().replace(':', "%3A"));
        let response = self.client.put(url).body(bytes).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
        digest
    }

    async fn status(&self, path: &str) -> StatusCode {
        self.client.get(self.url(path)).send().await.unwrap().status()
    }
}

#[tokio::test]
async fn blobs_in_chunks_at_once_mounted_and_in_ranges() {
    let server = Server::start(tempfile::tempdir().unwrap()).await;
    let digest = Digest::of(b"hello world");
    let location = server.begin("a/b").await;
    let patch = |range: &'static str, body: &'static [u8]| {
        server.client.patch(server.url(&location)).header("content-range", range).body(body).send()
    };
    assert_eq!(patch("0-5", b"hello ").await.unwrap().status(), StatusCode::ACCEPTED);
    assert_eq!(patch("3-9", b"again").await.unwrap().status(), StatusCode::RANGE_NOT_SATISFIABLE);
    let progress = server.client.get(server.url(&location)).send().await.unwrap();
    assert_eq!(progress.headers()["range"], "0-5");
    assert_eq!(patch("6-10", b"world").await.unwrap().status(), StatusCode::ACCEPTED);
    let done = server.client.put(format!("{}?digest={digest}", server.url(&location))).send().await.unwrap();
    assert_eq!(done.status(), StatusCode::CREATED);
    assert_eq!(done.headers()["docker-content-digest"], digest.as_str());

    let blob = server.url(&format!("a/b/blobs/{digest}"));
    let head = server.client.head(&blob).send().await.unwrap();
    assert_eq!((head.status(), head.headers()["content-length"].to_str().unwrap()), (StatusCode::OK, "11"));
    let part = server.client.get(&blob).header("range", "bytes=6-").send().await.unwrap();
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.headers()["content-range"], "bytes 6-10/11");
    assert_eq!(part.text().await.unwrap(), "world");

    let at_once = format!("c/blobs/uploads/?digest={}", Digest::of(b"x"));
    let response = server.client.post(server.url(&at_once)).body("x").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    let mount = format!("d/blobs/uploads/?mount={digest}&from=a/b");
    assert_eq!(server.client.post(server.url(&mount)).send().await.unwrap().status(), StatusCode::CREATED);
    let unknown = format!("d/blobs/uploads/?mount={}&from=a/b", Digest::of(b"no"));
    assert_eq!(server.client.post(server.url(&unknown)).send().await.unwrap().status(), StatusCode::ACCEPTED);
}

#[tokio::test]
async fn what_does_not_fit_its_digest_is_refused() {
    let server = Server::start(tempfile::tempdir().unwrap()).await;
    let location = server.begin("a").await;
    let url = format!("{}?digest={}", server.url(&location), Digest::of(b"promised"));
    let response = server.client.put(&url).body("other").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    assert!(response.text().await.unwrap().contains("DIGEST_INVALID"));
    assert_eq!(server.status(&format!("a/blobs/{}", Digest::of(b"promised"))).await, StatusCode::NOT_FOUND);
    // A manifest may only name what is there.
    let manifest = format!(r#"{{"schemaVersion":2,"config":{{"digest":"{}"}},"layers":[]}}"#, Digest::of(b"none"));
    let put = server.client.put(server.url("a/manifests/v1")).header("content-type", MANIFEST).body(manifest);
    assert_eq!(put.send().await.unwrap().status(), StatusCode::NOT_FOUND);
    for bad in ["A/tags/list", "a/manifests/-x", "a/blobs/sha256:zz", "%2e%2e/%2e%2e/tags/list", "a/_b/tags/list"] {
        assert!(server.status(bad).await.is_client_error(), "{bad}");
    }
    let huge = vec![b' '; 5 << 20];
    let put = server.client.put(server.url("a/manifests/v1")).header("content-type", MANIFEST).body(huge);
    assert_eq!(put.send().await.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn manifests_tags_and_catalog_survive_a_restart() {
    let server = Server::start(tempfile::tempdir().unwrap()).await;
    let config = server.push("team/app", b"{}").await;
    let manifest = format!(r#"{{"schemaVersion":2,"config":{{"digest":"{config}"}},"layers":[]}}"#);
    let digest = Digest::of(manifest.as_bytes());
    for tag in ["v1", "v2"] {
        let url = server.url(&format!("team/app/manifests/{tag}"));
        let put = server.client.put(url).header("content-type", MANIFEST).body(manifest.clone()).send().await.unwrap();
        assert_eq!(put.status(), StatusCode::CREATED);
    }
    let unfinished = server.begin("team/app").await;
    server.stop.cancel();
    let server = Server::start(server.folder).await;
    for reference in ["v1", digest.as_str()] {
        let got = server.client.get(server.url(&format!("team/app/manifests/{reference}"))).send().await.unwrap();
        assert_eq!(got.headers()["content-type"], MANIFEST);
        assert_eq!(got.headers()["docker-content-digest"], digest.as_str());
        assert_eq!(got.text().await.unwrap(), manifest);
    }
    let tags = server.client.get(server.url("team/app/tags/list?n=1")).send().await.unwrap();
    assert!(tags.headers()["link"].to_str().unwrap().contains("last=v1"));
    assert_eq!(tags.text().await.unwrap(), r#"{"name":"team/app","tags":["v1"]}"#);
    let catalog = server.client.get(server.url("_catalog")).send().await.unwrap().text().await.unwrap();
    assert_eq!(catalog, r#"{"repositories":["team/app"]}"#);
    assert_eq!(server.status(&unfinished).await, StatusCode::NOT_FOUND);
    assert_eq!(server.status("team/other/tags/list").await, StatusCode::NOT_FOUND);
    assert_eq!(server.status("team/app/manifests/v3").await, StatusCode::NOT_FOUND);
}
