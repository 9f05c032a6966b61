//! Runs in KFP's stand-in: the whole service, with metrics and model, and everything that goes wrong there.

mod faults;
mod restart;
mod runs;

use std::time::Duration;

use kfops_kfp_standin::{Standin, Workflow};
use kfops_pipeline_runner::{KfpSettings, Settings};
use kfops_settings::HumanDuration;
use kfops_telemetry::Tracer;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{PATIENCE, Runner};

/// One task that writes a model and a metric, takes a while and may fail.
pub(crate) const PIPELINE: &str = r#"
from kfp import dsl
from kfp.dsl import Metrics, Model, Output

@dsl.component(base_image="trainer", install_kfp_package=False)
def train(seconds: float, fail: bool, model: Output[Model], metrics: Output[Metrics]):
    import os, time
    print("training", flush=True)
    time.sleep(seconds)
    os.makedirs(model.path)
    with open(model.path + "/model.txt", "w") as file:
        file.write("trained")
    metrics.log_metric("accuracy", 0.5)
    if fail:
        raise RuntimeError("no luck")

@dsl.component(base_image="evaluator", install_kfp_package=False)
def finish(model: dsl.Input[Model]):
    print(open(model.path + "/model.txt").read())

@dsl.pipeline(name="tiny")
def tiny(seconds: float = 0.0, fail: bool = False):
    finish(model=train(seconds=seconds, fail=fail).outputs["model"])
"#;

/// A pipeline runner over a stand-in.
pub(crate) struct Cluster {
    pub(crate) standin: Standin,
    pub(crate) runner: Runner,
    _bucket: TempDir,
}

/// Settings for a stand-in over this bucket; as fast as a test may be.
pub(crate) fn kfp(url: String, bucket: &TempDir) -> KfpSettings {
    let millis = |millis| HumanDuration(Duration::from_millis(millis));
    KfpSettings {
        url,
        pipeline_root: Some("minio://mlpipeline/v2/artifacts".into()),
        artifacts: format!("file://{}", bucket.path().display()).into(),
        poll: millis(50),
        requests_per_second: 500.0,
        request_timeout: millis(5000),
        look_up: millis(1000),
        metadata: None,
        patience: millis(20_000),
        terminate: millis(20_000),
        ..KfpSettings::default()
    }
}

impl Cluster {
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        Self::with(arguments, |_| {}).await
    }

    pub(crate) async fn with(arguments: &[&str], change: impl FnOnce(&mut KfpSettings)) -> Self {
        let bucket = tempfile::tempdir().unwrap();
        let standin = Standin::over_folder(bucket.path(), arguments).await.unwrap();
        let mut kfp = KfpSettings { metadata: standin.metadata(), ..kfp(standin.url(), &bucket) };
        change(&mut kfp);
        let settings = |settings: &mut Settings| settings.kfp = Some(kfp);
        let runner = Runner::with(settings, Tracer::disabled()).await;
        Self { standin, runner, _bucket: bucket }
    }

    pub(crate) async fn rules(&self, rules: Value) {
        self.standin.faults(rules, json!({})).await.unwrap();
    }

    pub(crate) async fn switch(&self, name: &str) {
        self.standin.faults(json!([]), json!({name: true})).await.unwrap();
    }

    pub(crate) async fn workflows(&self) -> Vec<Workflow> {
        self.standin.workflows().await.unwrap()
    }

    /// The one workflow of a run; more would be a run done twice.
    pub(crate) async fn workflow(&self) -> Workflow {
        let mut workflows = self.workflows().await;
        assert_eq!(workflows.len(), 1, "{workflows:?}");
        workflows.remove(0)
    }

    /// Until a workflow is as it should be.
    pub(crate) async fn until(&self, enough: impl Fn(&[Workflow]) -> bool) {
        let look = async {
            while !enough(&self.workflows().await) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.expect("it gets there in time");
    }
}
