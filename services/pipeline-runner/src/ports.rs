//! What the use cases need from outside: somewhere to compile, somewhere to run.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use kfops_core::{Clock, Failure, TraceContext};
use kfops_store::Store;
use kfops_telemetry::Tracer;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    run::Task,
    version::{Image, Source},
};

/// The outside of the pipeline runner.
#[derive(Clone)]
pub struct Ports {
    /// Compiles pipelines.
    pub compiler: Arc<dyn Compiler>,
    /// Runs pipelines.
    pub executor: Arc<dyn Executor>,
    /// Sources, specifications, logs, models.
    pub store: Store,
    /// Where spans go.
    pub tracer: Tracer,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

/// What is to be compiled.
#[derive(Debug, Clone)]
pub struct CompileJob {
    /// Id of the version.
    pub version: String,
    /// The repository's files.
    pub source: Source,
    /// The pipeline's file, relative to the repository's root; validated to be a path of normal parts.
    pub path: String,
    /// The pipeline's function; empty when the file has one pipeline.
    pub function: String,
    /// Whether the file is compiled already.
    pub is_yaml: bool,
    /// What `versioned_image` of Kfops 1 can name.
    pub images: Vec<Image>,
    /// Where the log goes.
    pub log_key: String,
}

/// Turns a repository's pipeline into KFP IR.
#[async_trait]
pub trait Compiler: Send + Sync {
    /// How the repository's code is isolated.
    fn isolation(&self) -> String;

    /// The IR, as the repository's code (or file) gives it: not to be trusted.
    async fn compile(&self, job: &CompileJob, cancel: &CancellationToken) -> Result<String, Failure>;

    /// Checks the IR's pipeline specification against KFP's protobuf schema. Executes nothing of it.
    async fn check(&self, pipeline: &Value, cancel: &CancellationToken) -> Result<(), Failure>;
}

/// What is to be run.
#[derive(Debug, Clone)]
pub struct RunJob {
    /// Id of the run.
    pub run: String,
    /// 1, and one more for each time that the run was begun again.
    pub attempt: i32,
    /// Id of the pipeline version.
    pub version: String,
    /// The pipeline's name in the repository's configuration.
    pub pipeline_name: String,
    /// The commit that the version was made from.
    pub commit: String,
    /// Where the run is filed; empty: as usual.
    pub experiment: String,
    /// The pinned pipeline specification.
    pub pipeline: Value,
    /// What it says about its platform, e.g. Kubernetes.
    pub platform: Vec<Value>,
    /// Checked against the pipeline's parameters.
    pub arguments: BTreeMap<String, Value>,
    /// Tasks that are known beforehand.
    pub tasks: Vec<Task>,
    /// Longest time.
    pub timeout: Duration,
    /// Context of the run's span.
    pub context: Option<TraceContext>,
    /// Where the run's log goes; logs of tasks go to `<prefix>/<task>.log`.
    pub log_key: String,
    /// See `log_key`.
    pub log_prefix: String,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Every task that began, and those that never did.
    pub tasks: Vec<Task>,
    /// Why the run did not succeed.
    pub failure: Option<Failure>,
}

/// Runs pipelines.
#[async_trait]
pub trait Executor: Send + Sync {
    /// Whether `execute` would go on with (or just report) this attempt instead of beginning from the start. Asked after
    /// a restart of the service.
    async fn resumable(&self, run: &str, attempt: i32) -> bool;

    /// Runs it to its end. `progress` is told the tasks whenever they change. An error is a fault of the machinery;
    /// a failed pipeline is an outcome.
    async fn execute(
        &self,
        job: &RunJob,
        progress: watch::Sender<Vec<Task>>,
        cancel: &CancellationToken,
    ) -> Result<Outcome, Failure>;

    /// Brings an artifact of a finished run onto this machine; `uri` is one of `Task::artifacts`.
    async fn artifact(&self, run: &str, attempt: i32, uri: &str) -> Result<PathBuf, Failure>;

    /// Frees what an ended run holds.
    async fn discard(&self, run: &str);
}
