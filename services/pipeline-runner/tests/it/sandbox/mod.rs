//! Compiling in pods of the test cluster, which are shut off and know nothing.

mod compile;
mod interrupted;

use std::time::Duration;

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Namespace, Pod, ServiceAccount},
    networking::v1::NetworkPolicy,
};
use kfops_core::Failure;
use kfops_kube::{KubernetesSettings, connect};
use kfops_pipeline_runner::{KfpSettings, Ports, SandboxSettings, Settings};
use kfops_proto::pipeline as pb;
use kfops_rpc::failure_from_proto;
use kfops_telemetry::Tracer;
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::Runner;

/// For a pod on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(180);

/// A namespace of the test's own, which enforces `restricted`.
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    kubeconfig: std::path::PathBuf,
}

impl World {
    /// None, and a line that says so, without a cluster. `closed`: nothing may leave its pods, or enter.
    pub(crate) async fn new(closed: bool) -> Option<Self> {
        let Some(kubeconfig) = std::env::var_os("KFOPS_TEST_CLUSTER") else {
            println!("skipped: no test cluster");
            return None;
        };
        let settings =
            KubernetesSettings { kubeconfig: Some(kubeconfig.clone().into()), ..KubernetesSettings::default() };
        let client = connect(&settings).await.unwrap();
        let namespace = format!("kfp-{}", &hex::encode(rand())[..10]);
        let world = Self { client, namespace, kubeconfig: kubeconfig.into() };
        let object: Namespace = from(json!({"metadata": {
            "name": world.namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
        }}));
        Api::all(world.client.clone()).create(&PostParams::default(), &object).await.unwrap();
        if closed {
            let spec = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]});
            let policy: NetworkPolicy = from(json!({"metadata": {"name": "closed"}, "spec": spec}));
            world.api().create(&PostParams::default(), &policy).await.unwrap();
        }
        let accounts: Api<ServiceAccount> = world.api();
        world.until("its service account", async || accounts.get_opt("default").await.unwrap().is_some()).await;
        Some(world)
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Settings that compile here.
    pub(crate) fn settings(&self, folder: &TempDir) -> Settings {
        let image = std::env::var("KFOPS_TEST_PIPELINES_IMAGE").unwrap_or("registry.test/pipelines:1".into());
        Settings {
            listen: "127.0.0.1:0".into(),
            state: folder.path().join("state"),
            store: format!("file://{}", folder.path().join("store").display()).into(),
            // Neither is asked for anything here.
            python: "/nonexistent/python".into(),
            kfp: Some(KfpSettings {
                url: "http://127.0.0.1:9".into(),
                pipeline_root: Some("minio://bucket/root".into()),
                artifacts: format!("file://{}", folder.path().display()).into(),
                ..KfpSettings::default()
            }),
            sandbox: Some(SandboxSettings {
                namespace: Some(self.namespace.clone()),
                image,
                ..SandboxSettings::default()
            }),
            compile_memory_mib: 2048,
            kubernetes: KubernetesSettings {
                kubeconfig: Some(self.kubeconfig.clone()),
                ..KubernetesSettings::default()
            },
            ..Settings::default()
        }
    }

    pub(crate) async fn runner(&self, change: impl FnOnce(&mut Settings)) -> Runner {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = self.settings(&folder);
        change(&mut settings);
        let ports = Ports::of(&settings, Tracer::disabled()).await.unwrap();
        Runner::over(settings, ports, folder).await
    }

    /// The failure of a repository with this pipeline.
    pub(crate) async fn failing(&self, pipeline: &str, change: impl FnOnce(&mut Settings)) -> Failure {
        let mut runner = self.runner(change).await;
        let version = runner.compile("p.py", &[("p.py", pipeline)]).await;
        assert_eq!(version.state(), pb::State::Failed, "{version:?}");
        let failure = failure_from_proto(version.failure.unwrap());
        println!("{failure:?}");
        failure
    }

    pub(crate) async fn pods(&self) -> Vec<Pod> {
        self.api::<Pod>().list(&ListParams::default()).await.unwrap().items
    }

    pub(crate) async fn jobs(&self) -> Vec<Job> {
        self.api::<Job>().list(&ListParams::default()).await.unwrap().items
    }

    /// Until a container of the only pod runs; the pod's name.
    pub(crate) async fn running(&self, container: &str) -> String {
        self.until(container, async || self.pods().await.iter().any(|pod| runs(pod, container))).await;
        self.pods().await.iter().find(|pod| runs(pod, container)).unwrap().name_any()
    }

    pub(crate) async fn until(&self, what: &str, mut enough: impl AsyncFnMut() -> bool) {
        let look = async {
            while !enough().await {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(LONG, look).await.unwrap_or_else(|_| panic!("{what}: not in time"));
    }
}

fn runs(pod: &Pod, container: &str) -> bool {
    let Some(status) = &pod.status else { return false };
    let all = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && all
            .filter(|status| status.name == container)
            .any(|status| status.state.as_ref().is_some_and(|state| state.running.is_some()))
}

impl Drop for World {
    fn drop(&mut self) {
        let (client, namespace) = (self.client.clone(), self.namespace.clone());
        // The runtime of a test that fails ends at once: what removes is waited for.
        let remove = async move {
            let api: Api<Namespace> = Api::all(client);
            api.delete(&namespace, &DeleteParams::background()).await.ok();
        };
        std::thread::scope(|scope| {
            let handle = tokio::runtime::Handle::current();
            scope.spawn(move || handle.block_on(remove));
        });
    }
}

fn from<K: serde::de::DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).unwrap()
}

fn rand() -> [u8; 8] {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(std::process::id()).to_be_bytes()
}
