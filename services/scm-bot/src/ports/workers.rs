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
        /// Fence of the target's lock.
        fence: u64,
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
    /// Values of its parameters.
    pub arguments: BTreeMap<String, serde_json::Value>,
    /// What it measured.
    pub metrics: BTreeMap<String, f64>,
    /// What it trained.
    pub model: Option<Model>,
}

/// A build as its worker keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct BuildRecord {
    /// Whether it succeeded.
    pub succeeded: bool,
    /// The commit it was made from.
    pub commit: String,
    /// Images by digest.
    pub images: Vec<Image>,
}

/// A rollout as its worker keeps it: what brings its model back.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutRecord {
    /// Whether it succeeded.
    pub succeeded: bool,
    /// Files.
    pub source: Source,
    /// `template`, `sample`, `golden` as they were; `name` from the InferenceService.
    pub serving: kfops_project::Serving,
    /// The model.
    pub model: Model,
    /// Id of the run that trained it.
    pub run: String,
    /// The revision that it made.
    pub revision: String,
    /// The one before.
    pub previous_revision: String,
}

/// A revision of an InferenceService.
#[derive(Debug, Clone, PartialEq)]
pub struct Revision {
    /// e.g. `iris-00007`.
    pub name: String,
    /// `ready`, `starting`, `failed`, `retired`.
    pub state: String,
    /// Share of the traffic.
    pub percent: u8,
    /// Model.
    pub model: Model,
    /// Id of the run.
    pub run: String,
    /// Id of the rollout.
    pub rollout: String,
    /// Commit.
    pub commit: String,
    /// The rendered InferenceService, YAML.
    pub manifest: String,
    /// Why it does not answer although it is live; empty: it answers, or is not live.
    pub unanswered: String,
}

/// What work would do.
#[derive(Debug, Clone, PartialEq)]
pub enum Preview {
    /// Images by name, and whether one of the same content exists.
    Build(Vec<(String, bool)>),
    /// The rendered InferenceService, YAML.
    Rollout(String),
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
    /// Why it does not answer; empty: it does.
    pub unanswered: String,
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
    /// What `Build` or `Rollout` work would do; changes nothing.
    async fn preview(&self, work: &Work) -> Result<Preview, Failure>;
    /// Ends the canary of a rollout: all traffic to its revision now.
    async fn promote(&self, rollout: &str) -> Result<(), Failure>;
    /// A build.
    async fn build(&self, id: &str) -> Result<BuildRecord, Failure>;
    /// A rollout.
    async fn rollout(&self, id: &str) -> Result<RolloutRecord, Failure>;
    /// Revisions of an InferenceService, newest first; empty before the first rollout.
    async fn revisions(&self, inference_service: &str) -> Result<Vec<Revision>, Failure>;
    /// Gives the images of a build one more tag.
    async fn tag(&self, build: &str, tag: &str, trace: &TraceContext) -> Result<(), Failure>;
    /// A pipeline version.
    async fn version(&self, id: &str) -> Result<Version, Failure>;
    /// A run.
    async fn run(&self, id: &str) -> Result<Run, Failure>;
    /// What is live; None before the first rollout.
    async fn live(&self, inference_service: &str) -> Result<Option<Live>, Failure>;
}
