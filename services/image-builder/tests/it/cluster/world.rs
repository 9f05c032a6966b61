//! A namespace for builds, a store in S3, and the service as a process outside of the cluster.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Namespace, Pod, Secret, ServiceAccount},
};
use kfops_core::TraceContext;
use kfops_kube::{KubernetesSettings, connect};
use kfops_proto::build::{Build, CreateBuildRequest, ImageResult, ImageSpec};
use kfops_store::{Store, StoreOptions};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::json;

use super::{image, proxy};
use crate::world::Running;

/// What all services of a test share.
pub(super) struct Cluster {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) store: Store,
    /// What the services keep; it goes with the test.
    _folder: tempfile::TempDir,
    set: Vec<String>,
    environment: Vec<(String, String)>,
    pub(super) registry: String,
}

/// A running service.
pub(super) struct Process {
    child: Child,
    pub(super) service: Running,
}

/// In which every build is asked for.
pub(super) fn trace() -> TraceContext {
    TraceContext::from_random([7; 24])
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set, KFOPS_TEST_CLUSTER is"))
}

impl Cluster {
    /// None, and a line that says so, without a cluster.
    pub(super) async fn new() -> Option<Self> {
        let Some(kubeconfig) = std::env::var_os("KFOPS_TEST_CLUSTER") else {
            println!("skipped: no test cluster");
            return None;
        };
        let settings = KubernetesSettings { kubeconfig: Some(kubeconfig.clone().into()), ..Default::default() };
        let client = connect(&settings).await.unwrap();
        let unique = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
        let namespace = format!("jobs-builds-{unique}");
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        let object: Namespace = serde_json::from_value(object).unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();

        let (registry, inside) = (variable("KFOPS_TEST_REGISTRY"), variable("KFOPS_TEST_REGISTRY_INSIDE"));
        let (s3, s3_inside) = (variable("KFOPS_TEST_S3"), variable("KFOPS_TEST_S3_INSIDE"));
        let folder = tempfile::tempdir().unwrap();
        let key = |name: &str, variable_name: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, variable(variable_name)).unwrap();
            path
        };
        let credentials = kfops_store::CredentialFiles {
            access_key_id_file: key("id", "KFOPS_TEST_S3_ACCESS_KEY"),
            secret_access_key_file: key("secret", "KFOPS_TEST_S3_SECRET_KEY"),
            session_token_file: None,
        };
        let url = format!("s3://kfops/image-builder-{unique}");
        let outside = StoreOptions {
            endpoint: Some(s3.clone()),
            allow_http: true,
            credentials: Some(credentials.clone()),
            ..StoreOptions::at(&url)
        };
        let within = StoreOptions { endpoint: Some(s3_inside.clone()), ..outside.clone() };
        let host = |url: &str| url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let hosts = [(inside.clone(), registry.clone()), (host(&s3_inside), host(&s3))].into();
        let proxy = proxy::start(hosts).await;
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_kfops-image-builder"));
        let fetcher = image::push(&registry, "kfops-it/image-builder", program).await;
        // As BuildKit in a pod finds it.
        let scanner = fetcher.replacen("registry.test", &inside, 1);
        let set = vec![
            "listen=127.0.0.1:0".to_owned(),
            format!("state={}", folder.path().join("state").display()),
            format!("store={}", serde_json::to_string(&within).unwrap()),
            format!("registry.prefix={inside}/{namespace}"),
            "registry.insecure=true".into(),
            format!("kubernetes={}", json!({"kubeconfig": kubeconfig.to_str(), "namespace": namespace})),
            format!("buildkit.image={}", variable("KFOPS_TEST_BUILDKIT_IMAGE")),
            "buildkit.command=[/usr/local/bin/build-image]".into(),
            format!("buildkit.fetcher.image={fetcher}"),
            format!("buildkit.fetcher.command=[{}]", image::PROGRAM),
            format!("buildkit.sbom_scanner={scanner}"),
            r#"buildkit.resources={"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "2Gi"}}"#.into(),
            r#"buildkit.patience={"objects": "4s", "registry": "4s", "capacity": "4s", "node": "20s"}"#.into(),
            "shutdown_patience=1s".into(),
        ];
        let environment =
            vec![("http_proxy".into(), format!("http://{proxy}")), ("no_proxy".into(), "127.0.0.1".into())];
        let store = Store::open(outside).unwrap();
        let cluster = Self { client, namespace, store, _folder: folder, set, environment, registry };
        let accounts: Api<ServiceAccount> = cluster.api();
        cluster
            .eventually("the default service account", async || accounts.get_opt("default").await.unwrap().is_some())
            .await;
        Some(cluster)
    }

    /// A service with further settings. Those that follow each other share their state.
    pub(super) fn start(&self, set: &[&str]) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kfops-image-builder"));
        for value in self.set.iter().map(String::as_str).chain(set.iter().copied()) {
            command.args(["--set", value]);
        }
        let mut child = command.envs(self.environment.iter().cloned()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let address = lines
            .find_map(|line| {
                let Ok(value) = serde_json::from_str::<serde_json::Value>(&line) else { panic!("{line}") };
                (value["message"] == "listening").then(|| value["address"].as_str().unwrap().to_owned())
            })
            .unwrap();
        std::thread::spawn(move || lines.for_each(|line| println!("{line}")));
        Process { child, service: Running::at(&address) }
    }

    pub(super) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(super) async fn source(&self, files: &[(&str, &str)]) -> kfops_proto::common::SourceArchive {
        crate::world::source(&self.store, files).await
    }

    pub(super) async fn pods(&self) -> Vec<Pod> {
        self.api::<Pod>().list(&ListParams::default()).await.unwrap().items
    }

    pub(super) async fn log(&self, result: &ImageResult) -> String {
        match self.store.get(&result.log_key).await {
            Ok(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            Err(_) => String::new(),
        }
    }

    /// A manifest of the registry.
    pub(super) async fn manifest(&self, path: &str, reference: &str) -> (String, serde_json::Value) {
        self.get(path, &format!("manifests/{reference}")).await
    }

    /// What is attested about an image: what it is about, and what it says.
    pub(super) async fn attested(&self, path: &str, index: &serde_json::Value) -> Vec<(String, serde_json::Value)> {
        let entries = index["manifests"].as_array().unwrap();
        let about =
            |entry: &&serde_json::Value| entry["annotations"]["vnd.docker.reference.type"] == "attestation-manifest";
        let entry = entries.iter().find(about).unwrap();
        let (_, manifest) = self.manifest(path, entry["digest"].as_str().unwrap()).await;
        let mut all = Vec::new();
        for layer in manifest["layers"].as_array().unwrap() {
            let kind = layer["annotations"]["in-toto.io/predicate-type"].as_str().unwrap().to_owned();
            all.push((kind, self.get(path, &format!("blobs/{}", layer["digest"].as_str().unwrap())).await.1));
        }
        all
    }

    async fn get(&self, path: &str, what: &str) -> (String, serde_json::Value) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{}/v2/{}/{path}/{what}", self.registry, self.namespace);
        let accepted = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";
        let answer = client.get(url).header("accept", accepted).send().await.unwrap();
        let digest = answer.headers()["docker-content-digest"].to_str().unwrap().to_owned();
        (digest, answer.json().await.unwrap())
    }

    /// Neither pods, Jobs, Secrets nor contexts.
    pub(super) async fn nothing_left(&self) {
        assert!(self.pods().await.is_empty());
        assert!(self.api::<Job>().list(&ListParams::default()).await.unwrap().items.is_empty());
        let secrets: Api<Secret> = self.api();
        self.eventually("the secrets go with their Jobs", async || {
            secrets.list(&ListParams::default()).await.unwrap().items.is_empty()
        })
        .await;
        assert_eq!(self.store.list("contexts").await.unwrap(), Vec::<String>::new());
    }

    pub(super) async fn eventually(&self, what: &str, mut condition: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !condition().await {
            assert!(Instant::now() < deadline, "{what}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let (client, namespace, store) = (self.client.clone(), self.namespace.clone(), self.store.clone());
        let remove = async move {
            let api: Api<Namespace> = Api::all(client);
            api.delete(&namespace, &DeleteParams::background()).await.ok();
            for key in store.list("").await.unwrap_or_default() {
                store.delete(&key).await.ok();
            }
        };
        std::thread::scope(|scope| {
            let handle = tokio::runtime::Handle::current();
            scope.spawn(move || handle.block_on(remove));
        });
    }
}

impl Process {
    pub(super) async fn create(
        &self,
        id: &str,
        source: &kfops_proto::common::SourceArchive,
        images: Vec<ImageSpec>,
    ) -> Build {
        let build = Build { source: Some(source.clone()), images, ..Build::default() };
        let message = CreateBuildRequest { build: Some(build), build_id: id.into(), ..Default::default() };
        let request = kfops_rpc::request(message, Some(&trace()), Duration::from_secs(60));
        self.service.client.clone().create_build(request).await.unwrap().into_inner()
    }

    /// As Kubernetes ends a pod.
    pub(super) async fn terminate(mut self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it does not end");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for Process {
    /// SIGKILL.
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
