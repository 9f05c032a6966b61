//! What the use cases need from outside.

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use kfops_core::{Clock, Failure, TraceContext};
use kfops_store::Store;
use kfops_telemetry::Tracer;
use serde_json::Value;

use crate::{
    gate::Counters,
    service::{InferenceService, Predictor, Revision, RevisionKey, ServiceName},
    template::Inputs,
};

/// Everything from outside.
#[derive(Clone)]
pub struct Ports {
    /// Runs the model servers.
    pub runtime: Arc<dyn Runtime>,
    /// Shares the traffic among them.
    pub router: Arc<dyn Router>,
    /// Asks them for predictions.
    pub prober: Arc<dyn Prober>,
    /// Calls deployment functions of Kfops 1.
    pub functions: Arc<dyn DeploymentFunctions>,
    /// Source archives and logs.
    pub store: Store,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where spans go.
    pub tracer: Tracer,
}

/// A revision's server as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// Never started, or stopped.
    Absent,
    /// Not answering yet.
    Starting,
    /// Answers at this authority, e.g. `127.0.0.1:41234`.
    Ready(String),
    /// Ended by itself; the text says why.
    Exited(String),
}

/// What was there before the first revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// The name that it goes by, e.g. `iris-00000`.
    pub revision: String,
    /// How it serves.
    pub predictor: Predictor,
    /// The InferenceService, YAML.
    pub manifest: String,
}

/// Runs a server per revision.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Fails for what it cannot serve.
    fn check(&self, predictor: &Predictor, manifest: &str) -> Result<(), Failure>;
    /// Whether servers run on without this process, and somebody else starts them again.
    fn outlives_us(&self) -> bool {
        false
    }
    /// Starts the server of a revision; one that runs already is left alone, one that exited is started again.
    async fn start(&self, service: &ServiceName, revision: &Revision) -> Result<(), Failure>;
    /// How it is now.
    async fn observe(&self, key: &RevisionKey) -> Server;
    /// Ends it; one that is gone is ended already.
    async fn stop(&self, key: &RevisionKey);
    /// The end of its log.
    async fn log(&self, key: &RevisionKey) -> String;
    /// What one that is starting does, as last observed; may be empty.
    fn doing(&self, _: &RevisionKey) -> String {
        String::new()
    }
    /// What answers under the service's name without having been rolled out.
    async fn adopt(&self, _: &ServiceName) -> Result<Option<Adopted>, Failure> {
        Ok(None)
    }
    /// Brings the live revision to where it stays. Called again and again; does one step at a time.
    async fn settle(&self, _: &InferenceService) -> Result<(), Failure> {
        Ok(())
    }
    /// What is not as it should be, as last seen: changes by others, deletions that hang.
    fn notices(&self, _: &ServiceName) -> Vec<String> {
        Vec::new()
    }
    /// Ends all.
    async fn close(&self);
}

/// A revision in a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// e.g. `iris-00007`.
    pub revision: String,
    /// Where its server answers.
    pub authority: String,
    /// Its share; with 0 it is reached by the header `kfops-revision` only.
    pub weight: u32,
}

/// Shares the traffic of an InferenceService among revisions.
#[async_trait]
pub trait Router: Send + Sync + 'static {
    /// Begins to answer.
    async fn open(&self) -> Result<(), Failure>;
    /// Makes `targets` the route of the service. Returns when it is in force; revisions that are no longer in it may still
    /// answer what they had begun.
    async fn apply(&self, service: &ServiceName, targets: &[Target]) -> Result<(), Failure>;
    /// Waits, up to a limit, until a revision that has left the route has answered everything; then forgets where it was.
    /// Gives the number of requests that were not answered by then: they are cut.
    async fn drained(&self, key: &RevisionKey) -> Result<u64, Failure>;
    /// What it has counted for a revision since some moment in the past.
    async fn counters(&self, key: &RevisionKey) -> Result<Counters, Failure>;
    /// Why it routes nothing now; None: it does.
    fn trouble(&self) -> Option<String>;
    /// Base URL of the service, without a slash at the end; a prediction's path is appended to it.
    fn base_url(&self, service: &ServiceName) -> String;
    /// Ends it.
    async fn close(&self);
}

/// A request to a model.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Where to.
    pub url: String,
    /// The revision that must answer.
    pub revision: String,
    /// JSON; None asks with GET.
    pub body: Option<Value>,
    /// Its trace.
    pub context: Option<TraceContext>,
    /// How long to wait.
    pub timeout: Duration,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The revision that says it answered.
    pub revision: Option<String>,
    /// At most 1 MiB.
    pub body: Vec<u8>,
}

/// Sends requests to models, the way their users do.
#[async_trait]
pub trait Prober: Send + Sync + 'static {
    /// Sends one; the error says why there is no answer.
    async fn send(&self, probe: Probe) -> Result<Answer, String>;
}

/// Calls the Python function that Kfops 1 has instead of a template. The function is not to be trusted.
#[async_trait]
pub trait DeploymentFunctions: Send + Sync + 'static {
    /// The InferenceService that the function in `file` returns.
    async fn call(&self, source: &Path, file: &Path, inputs: &Inputs) -> Result<Value, Failure>;
}
