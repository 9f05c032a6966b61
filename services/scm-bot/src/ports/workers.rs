//! The three workers.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use futures::stream::BoxStream;
use kfops_core::{Failure, TraceContext};

use crate::{
    command::{Image, Model, Source},
    step::{Stage, Step},
};

/// Work for a worker.
#[derive(Debug, Clone, PartialEq)]
pub enum Work {
    /// For image-builder.
    Build {
        /// Files.
        source: Source,
        /// `owner/name`.
        repository: String,
        /// From kfops.yaml.
        images: Vec<kfops_project::Image>,
        /// Prefix; empty for the default registry.
        registry: String,
        /// Plain HTTP.
        insecure: bool,
    },
    /// For pipeline-runner.
    Compile {
        /// Files.
        source: Source,
        /// `owner/name`.
        repository: String,
        /// From kfops.yaml.
        pipeline: kfops_project::Pipeline,
        /// To be pinned.
        images: Vec<Image>,
    },
    /// For pipeline-runner.
    Run {
        /// Id of the pipeline version.
        version: String,
        /// Values of the parameters.
        arguments: BTreeMap<String, serde_json::Value>,
        /// From kfops.yaml.
        pipeline: kfops_project::Pipeline,
    },
    /// For serving-deployer.
    Rollout {
        /// Files.
        source: Source,
        /// `owner/name`.
        repository: String,
        /// `namespaces/…/inferenceServices/…`.
        inference_service: String,
        /// From kfops.yaml.
        serving: kfops_project::Serving,
        /// From kfops.yaml.
        strategy: kfops_project::Strategy,
        /// The model.
        model: Model,
        /// Id of the run that trained it.
        run: String,
    },
}

/// How far the work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkState {
    /// Not ended.
    Open,
    /// Done.
    Succeeded,
    /// Not done.
    Failed,
    /// Ended on purpose.
    Canceled,
}

/// A whole snapshot of the work.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// How far it is.
    pub state: WorkState,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// What it shows below its step.
    pub parts: Vec<Step>,
    /// Its log.
    pub log_key: String,
    /// What came of it so far.
    pub result: WorkResult,
}

/// What came of the work.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkResult {
    /// The images, and the names of those that were reused.
    Build(Vec<Image>, Vec<String>),
    /// Digest of the pinned specification.
    Compile(String),
    /// Metrics and model.
    Run(BTreeMap<String, f64>, Option<Model>),
    /// Revision, previous revision, endpoint.
    Rollout(String, String, String),
}

/// A pipeline version as its worker keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    /// Whether it can be run.
    pub ready: bool,
    /// Files that it was compiled from.
    pub source: Source,
    /// Images that it is pinned to.
    pub images: Vec<Image>,
    /// Digest of the pinned specification.
    pub spec_digest: String,
    /// `owner/name`.
    pub repository: String,
}

/// A run as its worker keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Whether it succeeded.
    pub succeeded: bool,
    /// The commit it was made from.
    pub commit: String,
    /// Id of its version.
    pub version: String,
    /// What it measured.
    pub metrics: BTreeMap<String, f64>,
    /// What it trained.
    pub model: Option<Model>,
}

/// What answers predictions now.
#[derive(Debug, Clone, PartialEq)]
pub struct Live {
    /// Revision.
    pub revision: String,
    /// Model.
    pub model: Model,
    /// Commit.
    pub commit: String,
    /// Run.
    pub run: String,
    /// Endpoint.
    pub endpoint: String,
}

/// The three workers.
#[async_trait]
pub trait Workers: Send + Sync + 'static {
    /// Asks for work; asking twice is asking once.
    async fn start(&self, id: &str, work: &Work, trace: &TraceContext, limit: Duration) -> Result<(), Failure>;
    /// Whole snapshots until the work has ended. It may be cut off before; then it is opened again.
    fn watch(&self, stage: Stage, id: &str) -> BoxStream<'static, Result<Snapshot, Failure>>;
    /// Ends the work.
    async fn cancel(&self, stage: Stage, id: &str) -> Result<(), Failure>;
    /// Gives the images of a build one more tag.
    async fn tag(&self, build: &str, tag: &str, trace: &TraceContext) -> Result<(), Failure>;
    /// A pipeline version.
    async fn version(&self, id: &str) -> Result<Version, Failure>;
    /// A run.
    async fn run(&self, id: &str) -> Result<Run, Failure>;
    /// What is live; None before the first rollout.
    async fn live(&self, inference_service: &str) -> Result<Option<Live>, Failure>;
}
