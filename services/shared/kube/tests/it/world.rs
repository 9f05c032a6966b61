//! A namespace of a test's own, and an observer that remembers.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::{Namespace, Pod, PodSpec};
use kfops_core::Failure;
use kfops_kube::{
    KubernetesSettings, connect,
    job::{Observer, Outcome, Task, run},
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// A namespace; it goes with the test.
pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

/// What an observer was told.
#[derive(Clone, Default)]
pub(crate) struct Told {
    pub(crate) log: Arc<Mutex<String>>,
    pub(crate) waits: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Observer for Told {
    fn log(&self, line: &[u8]) {
        self.log.lock().unwrap().push_str(&String::from_utf8_lossy(line));
    }

    fn waits(&self, failure: &Failure) {
        self.waits.lock().unwrap().push((Instant::now(), failure.message.clone()));
    }
}

impl Told {
    pub(crate) fn text(&self) -> String {
        self.log.lock().unwrap().clone()
    }
}

impl World {
    /// None, and a line that says so, without a cluster.
    pub(crate) async fn new(labels: &[(&str, &str)]) -> Option<Self> {
        let Some(kubeconfig) = std::env::var_os("KFOPS_TEST_CLUSTER") else {
            println!("skipped: no test cluster");
            return None;
        };
        let settings = KubernetesSettings { kubeconfig: Some(kubeconfig.into()), ..KubernetesSettings::default() };
        let client = connect(&settings).await.unwrap();
        let namespace = format!("jobs-it-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let labels: serde_json::Map<String, Value> = labels.iter().map(|(k, v)| (k.to_string(), json!(v))).collect();
        let world = Self { client, namespace };
        let object =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": world.namespace, "labels": labels}});
        let object: Namespace = serde_json::from_value(object).unwrap();
        Api::all(world.client.clone()).create(&PostParams::default(), &object).await.unwrap();
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = world.api();
        eventually("the default service account", async || accounts.get_opt("default").await.unwrap().is_some()).await;
        Some(world)
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) async fn make<K>(&self, object: Value)
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + std::fmt::Debug,
        K: serde::Serialize + serde::de::DeserializeOwned,
        K::DynamicType: Default,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.api::<K>().create(&PostParams::default(), &object).await.unwrap();
    }

    pub(crate) async fn pods(&self) -> Vec<Pod> {
        self.api::<Pod>().list(&ListParams::default()).await.unwrap().items
    }

    pub(crate) async fn run(&self, task: &Task) -> (Result<Outcome, Failure>, Told, Duration) {
        let (told, begun) = (Told::default(), Instant::now());
        let limit = Duration::from_secs(180);
        let cancel = CancellationToken::new();
        let running = run(&self.client, &self.namespace, task, &told, &cancel);
        let outcome = tokio::time::timeout(limit, running).await.unwrap();
        println!("{}: {:.1} s: {outcome:?}", task.name, begun.elapsed().as_secs_f64());
        (outcome, told, begun.elapsed())
    }
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

/// A task with one container `main` on the Debian base; `change` is merged into it.
pub(crate) fn task(name: &str, script: &str, container: Value, pod: Value) -> Task {
    let mut main = json!({
        "name": "main", "image": "registry.test/base:1", "command": ["sh", "-c", script],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
    });
    merge(&mut main, container);
    let mut spec = json!({"terminationGracePeriodSeconds": 1, "containers": [main]});
    merge(&mut spec, pod);
    let pod: PodSpec = serde_json::from_value(spec).unwrap();
    Task { deadline: Duration::from_secs(150), ..Task::new(name, pod, "main") }
}

fn merge(into: &mut Value, from: Value) {
    if let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) {
        into.extend(from);
    }
}

pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !condition().await {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
