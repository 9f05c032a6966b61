//! A user's namespace in the test cluster, as Kubeflow's profile controller makes it, with models in S3.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Namespace;
use kfops_kube::KubernetesSettings;
use kfops_proto::{
    common::Model,
    serving::{Rollout, Strategy},
};
use kfops_serving_deployer::{KserveSettings, MetricsSettings, Settings};
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::world::{FILES, put_source, rollout};

const IMAGE: &str = "registry.test/kserve/sklearnserver:1";
const TRAIN: &str = r#"
import io, os, boto3, joblib
from botocore.config import Config
from sklearn import datasets, dummy, tree
s3 = boto3.client("s3", endpoint_url=os.environ["S3"], config=Config(s3={"addressing_style": "path"}))
try:
    s3.create_bucket(Bucket="isvc-tests")
except Exception as error:
    print(error)
x, y = datasets.load_iris(return_X_y=True)
def put(name, model):
    data = io.BytesIO()
    joblib.dump(model, data)
    s3.put_object(Bucket="isvc-tests", Key=name + "/model.joblib", Body=data.getvalue())
put("tree", tree.DecisionTreeClassifier(max_depth=2, random_state=0).fit(x, y))
put("deeper", tree.DecisionTreeClassifier(max_depth=4, random_state=0).fit(x, y))
put("three", tree.DecisionTreeClassifier(max_depth=2, random_state=0).fit(x[:, :3], y))
put("constant", dummy.DummyClassifier(strategy="constant", constant=2).fit(x, y))
s3.put_object(Bucket="isvc-tests", Key="corrupt/model.joblib", Body=b"this is no model")
"#;

/// A namespace of its own.
pub(crate) struct Place {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) token: String,
    ingress: String,
    kubeconfig: PathBuf,
}

/// A kind by group, version, name and plural.
fn api_of(client: &Client, namespace: &str, kind: (&str, &str, &str, &str)) -> Api<DynamicObject> {
    let (group, version, kind, plural) = kind;
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    Api::namespaced_with(client.clone(), namespace, &resource)
}

impl Place {
    /// None, said aloud, where there is no cluster.
    pub(crate) async fn new(test: &str) -> Option<Self> {
        let variables = (std::env::var_os("KFOPS_TEST_CLUSTER"), std::env::var("KFOPS_TEST_INGRESS"));
        let (Some(kubeconfig), Ok(ingress)) = variables else {
            println!("skipped: no test cluster");
            return None;
        };
        let kubeconfig = PathBuf::from(kubeconfig);
        let settings = KubernetesSettings { kubeconfig: Some(kubeconfig.clone()), namespace: None };
        let client = kfops_kube::connect(&settings).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let suffix = folder.path().file_name().unwrap().to_string_lossy().to_lowercase();
        let suffix: String = suffix.chars().filter(char::is_ascii_alphanumeric).collect();
        let namespace = format!("isvc-{test}-{suffix}");
        let ingress = if ingress.contains("://") { ingress } else { format!("http://{ingress}") };
        let ingress = ingress.trim_end_matches('/').to_owned();
        let mut place = Self { client, namespace, folder, token: String::new(), ingress, kubeconfig };
        place.prepare().await;
        Some(place)
    }

    async fn prepare(&mut self) {
        let s3 = std::env::var("KFOPS_TEST_S3_INSIDE").unwrap();
        let (key, secret) = (std::env::var("KFOPS_TEST_S3_ACCESS_KEY"), std::env::var("KFOPS_TEST_S3_SECRET_KEY"));
        let (key, secret) = (key.unwrap(), secret.unwrap());
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let labels = json!({"istio-injection": "enabled", "app.kubernetes.io/part-of": "kubeflow-profile"});
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels}});
        let parameters = PatchParams::apply("test").force();
        namespaces.patch(&self.namespace, &parameters, &Patch::Apply(namespace)).await.unwrap();
        let user = format!("system:serviceaccount:{}:default-editor", self.namespace);
        self.apply(
            ("", "v1", "Secret", "secrets"),
            json!({"metadata": {"name": "s3", "annotations": {
            "serving.kserve.io/s3-endpoint": s3.trim_start_matches("http://"), "serving.kserve.io/s3-usehttps": "0",
            "serving.kserve.io/s3-region": "us-east-1", "serving.kserve.io/s3-useanoncredential": "false"}},
            "stringData": {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}}),
        )
        .await;
        let account = json!({"metadata": {"name": "default-editor"}, "secrets": [{"name": "s3"}]});
        self.apply(("", "v1", "ServiceAccount", "serviceaccounts"), account).await;
        let gateway = "cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account";
        let owner = json!({"metadata": {"name": "owner"}, "spec": {"rules": [
            {"from": [{"source": {"principals": [gateway]}}],
                "when": [{"key": "request.headers[kubeflow-userid]", "values": [user]}]},
            {"from": [{"source": {"namespaces": [self.namespace]}}]}]}});
        self.apply(("security.istio.io", "v1", "AuthorizationPolicy", "authorizationpolicies"), owner).await;
        let variables = json!([{"name": "S3", "value": s3}, {"name": "AWS_ACCESS_KEY_ID", "value": key},
            {"name": "AWS_SECRET_ACCESS_KEY", "value": secret}, {"name": "AWS_DEFAULT_REGION", "value": "us-east-1"}]);
        let job = json!({"metadata": {"name": "train"}, "spec": {"backoffLimit": 3, "template": {
            "metadata": {"annotations": {"sidecar.istio.io/inject": "false"}, "labels": {"sidecar.istio.io/inject": "false"}},
            "spec": {"restartPolicy": "Never", "containers": [{"name": "train", "image": IMAGE,
                "command": ["python3", "-c", TRAIN], "env": variables}]}}}});
        self.apply(("batch", "v1", "Job", "jobs"), job).await;
        let jobs = api_of(&self.client, &self.namespace, ("batch", "v1", "Job", "jobs"));
        self.until("the models are in S3", 300, async || {
            jobs.get("train").await.unwrap().data["status"]["succeeded"] == 1
        })
        .await;
        let path = format!("/api/v1/namespaces/{}/serviceaccounts/default-editor/token", self.namespace);
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}});
        let request = http::Request::post(path).header("content-type", "application/json");
        let request = request.body(serde_json::to_vec(&body).unwrap()).unwrap();
        let answer: Value = self.client.request(request).await.unwrap();
        self.token = answer["status"]["token"].as_str().unwrap().to_owned();
        std::fs::write(self.folder.path().join("token"), &self.token).unwrap();
    }

    pub(crate) async fn apply(&self, kind: (&str, &str, &str, &str), mut object: Value) {
        let (group, version, name, _) = kind;
        object["apiVersion"] = if group.is_empty() { version.into() } else { format!("{group}/{version}").into() };
        object["kind"] = name.into();
        let id = object["metadata"]["name"].as_str().unwrap().to_owned();
        let parameters = PatchParams::apply("somebody").force();
        api_of(&self.client, &self.namespace, kind).patch(&id, &parameters, &Patch::Apply(object)).await.unwrap();
    }

    pub(crate) fn settings(&self) -> Settings {
        let listen = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        Settings {
            listen,
            state: self.folder.path().join("state"),
            store: format!("file://{}", self.folder.path().join("store").display()).into(),
            ready_timeout: kfops_settings::HumanDuration::from_secs(300),
            kubernetes: KubernetesSettings { kubeconfig: Some(self.kubeconfig.clone()), namespace: None },
            kserve: Some(KserveSettings {
                url: self.ingress.clone(),
                token_file: Some(self.folder.path().join("token")),
                service_account: Some("default-editor".into()),
                metrics: MetricsSettings { by_api_server: true, ..MetricsSettings::default() },
                ..KserveSettings::default()
            }),
            ..Settings::default()
        }
    }

    /// The name of its InferenceService.
    pub(crate) fn service(&self) -> String {
        format!("namespaces/{}/inferenceServices/iris", self.namespace)
    }

    /// Where its predictions are asked for.
    pub(crate) fn endpoint(&self) -> String {
        format!("{}/serving/{}/iris/v1/models/iris:predict", self.ingress, self.namespace)
    }

    /// A rollout of the standard files to `iris` here.
    pub(crate) async fn rollout(&self, model: &str, strategy: Strategy) -> Rollout {
        self.rollout_of(FILES, model, strategy).await
    }

    pub(crate) async fn rollout_of(&self, files: &[(&str, &str)], model: &str, strategy: Strategy) -> Rollout {
        let model = Model { uri: format!("minio://isvc-tests/{model}"), digest: String::new(), size_bytes: 1 };
        let source = put_source(self.folder.path(), files).await;
        Rollout { inference_service: self.service(), ..rollout(source, model, strategy) }
    }

    pub(crate) fn inference_services(&self) -> Api<DynamicObject> {
        let kind = ("serving.kserve.io", "v1beta1", "InferenceService", "inferenceservices");
        api_of(&self.client, &self.namespace, kind)
    }

    /// Names of all InferenceServices here with the path of their models.
    pub(crate) async fn served(&self) -> Vec<(String, String)> {
        let all = self.inference_services().list(&ListParams::default()).await.unwrap();
        let uri = |found: &DynamicObject| found.data["spec"]["predictor"]["model"]["storageUri"].clone();
        let text = |found: DynamicObject| {
            (found.metadata.name.clone().unwrap(), uri(&found).as_str().unwrap_or_default().to_owned())
        };
        all.items.into_iter().map(text).collect()
    }

    /// One prediction by the owner of the namespace: status, revision, body.
    pub(crate) async fn predict(&self, url: &str, instance: Value) -> (u16, String, Value) {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.post(url).bearer_auth(&self.token).json(&json!({"instances": [instance]}));
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let revision = response.headers().get("kfops-revision").map(|v| v.to_str().unwrap().to_owned());
        let text = response.text().await.unwrap();
        (status, revision.unwrap_or_default(), serde_json::from_str(&text).unwrap_or(json!(text)))
    }

    pub(crate) async fn until(&self, what: &str, seconds: u64, mut so: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        while !so().await {
            assert!(Instant::now() < deadline, "never: {what}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (client, namespace) = (self.kubeconfig.clone(), self.namespace.clone());
        let end = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let settings = KubernetesSettings { kubeconfig: Some(client), namespace: None };
                let client = kfops_kube::connect(&settings).await.unwrap();
                // Before the namespace: KServe's controller has to be able to end what it made.
                let kind = ("serving.kserve.io", "v1beta1", "InferenceService", "inferenceservices");
                let all = api_of(&client, &namespace, kind);
                all.delete_collection(&DeleteParams::default(), &ListParams::default()).await.ok();
                let namespaces: Api<Namespace> = Api::all(client);
                namespaces.delete(&namespace, &DeleteParams::background()).await.ok();
            });
        };
        std::thread::spawn(end).join().ok();
    }
}
