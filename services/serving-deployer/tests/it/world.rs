//! A serving-deployer of its own for each test, and the words to talk to it.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use flate2::{Compression, write::GzEncoder};
use kfops_core::{Digest, Failure, TraceContext};
use kfops_proto::{
    common::{Model, SourceArchive},
    serving::{
        CancelRolloutRequest, CreateRolloutRequest, GetInferenceServiceRequest, GetRolloutRequest, InferenceService,
        PromoteRolloutRequest, Rollout, State, Strategy, WatchRolloutRequest,
        rollout_service_client::RolloutServiceClient,
    },
};
use kfops_rpc::Lifecycle;
use kfops_serving_deployer::{Ports, Service, Settings};
use kfops_store::Store;
use kfops_telemetry::Tracer;
use serde_json::{Value, json};
use tonic::transport::Channel;

use crate::models::{model, tools};

pub(crate) const TEMPLATE: &str = r#"
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: "{{ name }}", namespace: "{{ namespace }}"}
spec: {predictor: {model: {modelFormat: {name: sklearn}, storageUri: "{{ storage_uri }}"}}}
"#;
pub(crate) const SAMPLE: &str = r#"{"instances": [[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]]}"#;
pub(crate) const GOLDEN: &str = r#"{"request": {"instances": [[5.1, 3.5, 1.4, 0.2]]}, "expect": {"predictions": [0]}}"#;
/// Longest rollout: pods start slowly on a machine that others use fully.
const PATIENCE: Duration = Duration::from_secs(400);
pub(crate) const SERVICE: &str = "namespaces/team/inferenceServices/iris";
pub(crate) const FILES: &[(&str, &str)] =
    &[("serving/template.yaml", TEMPLATE), ("serving/sample.json", SAMPLE), ("serving/golden.jsonl", GOLDEN)];

pub(crate) struct World {
    folder: tempfile::TempDir,
    lifecycle: Lifecycle,
    served: Option<tokio::task::JoinHandle<Result<(), Failure>>>,
    pub(crate) client: RolloutServiceClient<Channel>,
}

pub(crate) fn settings(folder: &Path) -> Settings {
    let (python, envoy) = tools();
    Settings {
        listen: "127.0.0.1:0".into(),
        state: folder.join("state"),
        store: format!("file://{}", folder.join("store").display()).into(),
        listen_models: "127.0.0.1:0".into(),
        python,
        hide: vec![folder.join("secrets")],
        envoy,
        ..Settings::default()
    }
}

pub(crate) async fn put_source(folder: &Path, files: &[(&str, &str)]) -> SourceArchive {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, format!("top/{path}"), text.as_bytes()).unwrap();
    }
    let bytes = builder.into_inner().unwrap().finish().unwrap();
    let digest = Digest::of(&bytes);
    let key = format!("sources/o/r/{}.tar.gz", digest.hex());
    let store = Store::open(format!("file://{}", folder.join("store").display())).unwrap();
    store.put(&key, bytes).await.unwrap();
    SourceArchive { key, digest: digest.to_string(), commit: "3f2c1e7".into(), repository: "o/r".into() }
}

/// Shifts fast enough for a test.
pub(crate) fn strategy(canary: &[i32]) -> Strategy {
    Strategy {
        canary: canary.to_vec(),
        hold: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
        max_error_rate: 0.01,
        max_p99_increase: 0.0,
        min_requests: 5,
        timeout: Some(prost_types::Duration { seconds: 30, nanos: 0 }),
    }
}

pub(crate) fn rollout(source: SourceArchive, model: Model, strategy: Strategy) -> Rollout {
    Rollout {
        inference_service: SERVICE.into(),
        source: Some(source),
        template_path: "serving/template.yaml".into(),
        sample_path: "serving/sample.json".into(),
        golden_path: "serving/golden.jsonl".into(),
        model: Some(model),
        run: "runs/r-1".into(),
        strategy: Some(strategy),
        ..Rollout::default()
    }
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(|settings| settings, "").await
    }

    pub(crate) async fn start_with(change: impl FnOnce(Settings) -> Settings, otlp: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), change, otlp).await
    }

    async fn start_in(folder: tempfile::TempDir, change: impl FnOnce(Settings) -> Settings, otlp: &str) -> Self {
        let settings = change(settings(folder.path()));
        for secrets in &settings.hide {
            std::fs::create_dir_all(secrets).unwrap();
            std::fs::write(secrets.join("key.pem"), "secret").unwrap();
        }
        let tracer = match otlp {
            "" => Tracer::disabled(),
            endpoint => Tracer::new("kfops-serving-deployer", Some(endpoint)).unwrap(),
        };
        let ports = Ports::local(&settings, tracer).await.unwrap();
        let service = Service::build(settings, ports).await.unwrap();
        let (listener, address) = kfops_rpc::bind("127.0.0.1:0").await.unwrap();
        let lifecycle = Lifecycle::new();
        let served = tokio::spawn(service.serve(listener, lifecycle.clone()));
        let client = RolloutServiceClient::new(kfops_rpc::connect(&format!("http://{address}")).unwrap());
        Self { folder, lifecycle, served: Some(served), client }
    }

    /// Stopped and started again over what it kept.
    pub(crate) async fn restart(self) -> Self {
        let Self { folder, lifecycle, served, .. } = self;
        lifecycle.stop();
        served.unwrap().await.unwrap().unwrap();
        Self::start_in(folder, |settings| settings, "").await
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Creates a rollout of the standard files.
    pub(crate) async fn deploy(&mut self, id: &str, model_name: &str, strategy: Strategy) -> Rollout {
        let source = put_source(self.folder.path(), FILES).await;
        self.create(id, rollout(source, model(model_name), strategy)).await.unwrap()
    }

    pub(crate) async fn create(&mut self, id: &str, rollout: Rollout) -> Result<Rollout, Failure> {
        let request = CreateRolloutRequest { rollout: Some(rollout), rollout_id: id.into(), ..Default::default() };
        let answer = self.client.create_rollout(request).await;
        answer.map(tonic::Response::into_inner).map_err(|status| kfops_rpc::failure_of(&status))
    }

    pub(crate) async fn create_traced(&mut self, id: &str, rollout: Rollout, context: &TraceContext) -> Rollout {
        let message = CreateRolloutRequest { rollout: Some(rollout), rollout_id: id.into(), ..Default::default() };
        let request = kfops_rpc::request(message, Some(context), Duration::from_secs(10));
        self.client.create_rollout(request).await.unwrap().into_inner()
    }

    pub(crate) async fn get(&mut self, id: &str) -> Rollout {
        let request = GetRolloutRequest { name: format!("rollouts/{id}") };
        self.client.get_rollout(request).await.unwrap().into_inner()
    }

    pub(crate) async fn cancel(&mut self, id: &str) -> Rollout {
        let request = CancelRolloutRequest { name: format!("rollouts/{id}") };
        self.client.cancel_rollout(request).await.unwrap().into_inner()
    }

    pub(crate) async fn promote(&mut self, id: &str) -> Result<Rollout, Failure> {
        let request = PromoteRolloutRequest { name: format!("rollouts/{id}") };
        let answer = self.client.promote_rollout(request).await;
        answer.map(tonic::Response::into_inner).map_err(|status| kfops_rpc::failure_of(&status))
    }

    /// What a rollout would be.
    pub(crate) async fn preview(&mut self, rollout: Rollout) -> Result<Rollout, Failure> {
        let request =
            CreateRolloutRequest { rollout: Some(rollout), rollout_id: "preview".into(), validate_only: true };
        let answer = self.client.create_rollout(request).await;
        answer.map(tonic::Response::into_inner).map_err(|status| kfops_rpc::failure_of(&status))
    }

    pub(crate) async fn inference_service(&mut self) -> InferenceService {
        let request = GetInferenceServiceRequest { name: SERVICE.into() };
        self.client.get_inference_service(request).await.unwrap().into_inner()
    }

    /// Watches until the rollout is as wanted, or has ended.
    pub(crate) async fn until(&mut self, id: &str, wanted: impl Fn(&Rollout) -> bool) -> Rollout {
        until(&mut self.client, id, wanted).await
    }

    pub(crate) async fn ended(&mut self, id: &str) -> Rollout {
        self.until(id, |_| false).await
    }

    pub(crate) async fn stop(mut self) {
        self.lifecycle.stop();
        self.served.take().unwrap().await.unwrap().unwrap();
    }
}

pub(crate) async fn until(
    client: &mut RolloutServiceClient<Channel>,
    id: &str,
    wanted: impl Fn(&Rollout) -> bool,
) -> Rollout {
    let watch = async {
        let request = WatchRolloutRequest { name: format!("rollouts/{id}") };
        let mut stream = client.watch_rollout(request).await.unwrap().into_inner();
        while let Some(snapshot) = stream.message().await.unwrap() {
            if wanted(&snapshot) || is_terminal(&snapshot) {
                return snapshot;
            }
        }
        panic!("the watch of {id} ended before the rollout");
    };
    tokio::time::timeout(PATIENCE, watch).await.unwrap()
}

fn is_terminal(rollout: &Rollout) -> bool {
    matches!(rollout.state(), State::Succeeded | State::Failed | State::Canceled)
}

pub(crate) fn is_at(rollout: &Rollout, title: &str) -> bool {
    rollout.steps.last().is_some_and(|step| step.title == title && step.state() == State::Running)
}

pub(crate) fn titles(rollout: &Rollout) -> Vec<&str> {
    rollout.steps.iter().map(|step| step.title.as_str()).collect()
}

/// One prediction: status, revision, body.
pub(crate) async fn predict(url: &str, body: Value) -> (u16, String, Value) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = client.post(url).json(&body).send().await.unwrap();
    let status = response.status().as_u16();
    let revision = response.headers().get("kfops-revision").map(|v| v.to_str().unwrap().to_owned());
    let text = response.text().await.unwrap();
    (status, revision.unwrap_or_default(), serde_json::from_str(&text).unwrap_or(json!(text)))
}

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !so().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
