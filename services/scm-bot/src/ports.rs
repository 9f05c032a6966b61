//! What scm-bot needs from outside: a ledger, GitHub, the workers, random ids.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use kfops_core::{Failure, TraceContext};

use crate::{
    command::{Command, Image, Model, PullRequest, Repository, Source},
    step::{Stage, Step},
};

/// Random bytes for trace ids.
pub trait Entropy: Send + Sync + 'static {
    /// 24 bytes.
    fn trace(&self) -> [u8; 24];
}

/// A delivery to be kept with its commands.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// `X-GitHub-Delivery`.
    pub id: String,
    /// `X-GitHub-Event`.
    pub event: String,
    /// As signed.
    pub payload: Bytes,
    /// When it came.
    pub received: SystemTime,
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq)]
pub enum Accepted {
    /// These commands are new.
    New(Vec<Command>),
    /// It, or its comment, was accepted before.
    Duplicate,
}

/// What became of a command from the API.
#[derive(Debug, Clone, PartialEq)]
pub enum Created {
    /// It is new.
    New(Command),
    /// It was there.
    Existing(Command),
}

/// Which commands a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only of this repository.
    pub repository: Option<Repository>,
    /// Only of this pull request.
    pub pull_request: Option<u64>,
}

/// One page of commands, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandPage {
    /// The commands.
    pub commands: Vec<Command>,
    /// Empty on the last page.
    pub next_page_token: String,
}

/// What is remembered. A change is durable once its call returns.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// Keeps a delivery and its commands, all or nothing.
    async fn accept(&self, delivery: Delivery, commands: Vec<Command>) -> Result<Accepted, Failure>;
    /// Keeps a command from the API.
    async fn create(&self, command: Command) -> Result<Created, Failure>;
    /// The command as it stands.
    async fn get(&self, id: &str) -> Result<Command, Failure>;
    /// Newest first.
    async fn list(&self, filter: Filter, page_size: i32, page_token: &str) -> Result<CommandPage, Failure>;
    /// Those that have not ended, oldest first.
    async fn open(&self) -> Result<Vec<Command>, Failure>;
    /// Replaces the command if nobody changed it since it was read; None if somebody did.
    async fn update(&self, command: Command) -> Result<Option<Command>, Failure>;
}

/// Counts the requests made for one command.
#[derive(Debug, Clone, Default)]
pub struct Meter(Arc<Mutex<Vec<GitHubCall>>>);

/// One request to GitHub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitHubCall {
    /// e.g. `POST comments`.
    pub name: String,
    /// Status; 0 when there was no answer.
    pub status: u16,
    /// Start.
    pub start: SystemTime,
    /// End.
    pub end: SystemTime,
}

impl Meter {
    /// Notes a request.
    pub fn note(&self, call: GitHubCall) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }

    /// Takes what was noted since the last time.
    #[must_use]
    pub fn take(&self) -> Vec<GitHubCall> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// An approving review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// Who.
    pub user: String,
    /// Belongs to the repository.
    pub insider: bool,
    /// `APPROVED`, `CHANGES_REQUESTED`, `DISMISSED`, `COMMENTED`.
    pub state: String,
    /// The commit that was reviewed.
    pub commit: String,
}

/// What GitHub did with a merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merged {
    /// The merge commit.
    Yes(String),
    /// Why not, as GitHub says (405, 409, 422).
    No(String),
}

/// The check run of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckRun {
    /// `kfops/<verb>`.
    pub name: String,
    /// The command's id.
    pub external_id: String,
    /// The commit.
    pub commit: String,
    /// Start.
    pub started: SystemTime,
    /// `success`, `failure`, `neutral`, `cancelled`, and when; None while it is in progress.
    pub completed: Option<(&'static str, SystemTime)>,
    /// One line.
    pub title: String,
    /// Markdown.
    pub summary: String,
    /// Where more is shown.
    pub details_url: Option<String>,
}

/// GitHub's REST API, as far as it is needed. A failure with `GITHUB_UNAVAILABLE` may have had its effect.
#[async_trait]
pub trait GitHub: Send + Sync + 'static {
    /// A pull request.
    async fn pull_request(&self, meter: &Meter, repository: &Repository, number: u64) -> Result<PullRequest, Failure>;
    /// The permission of a user, as GitHub names it (`none`, `read`, `triage`, `write`, `maintain`, `admin`).
    async fn permission(&self, meter: &Meter, repository: &Repository, user: &str) -> Result<String, Failure>;
    /// Whether a user is an active member of `organization/team`.
    async fn team_member(&self, meter: &Meter, team: &str, user: &str) -> Result<bool, Failure>;
    /// A file of a branch.
    async fn file(
        &self,
        meter: &Meter,
        repository: &Repository,
        path: &str,
        branch: &str,
    ) -> Result<Option<Vec<u8>>, Failure>;
    /// By how many commits `head` is behind `base`.
    async fn behind_by(&self, meter: &Meter, repository: &Repository, base: &str, head: &str) -> Result<u64, Failure>;
    /// Reviews, oldest first.
    async fn reviews(&self, meter: &Meter, repository: &Repository, number: u64) -> Result<Vec<Review>, Failure>;
    /// Names of the check runs and statuses that succeeded on a commit.
    async fn succeeded_checks(
        &self,
        meter: &Meter,
        repository: &Repository,
        commit: &str,
    ) -> Result<Vec<String>, Failure>;
    /// The gzip-compressed tar archive of a commit.
    async fn archive(&self, meter: &Meter, repository: &Repository, commit: &str) -> Result<Bytes, Failure>;
    /// The bot's own comment since `since` that contains `marker`.
    async fn find_comment(
        &self,
        meter: &Meter,
        on: (&Repository, u64),
        marker: &str,
        since: SystemTime,
    ) -> Result<Option<u64>, Failure>;
    /// Posts a comment.
    async fn post_comment(&self, meter: &Meter, on: (&Repository, u64), body: &str) -> Result<u64, Failure>;
    /// Replaces a comment.
    async fn edit_comment(
        &self,
        meter: &Meter,
        repository: &Repository,
        comment: u64,
        body: &str,
    ) -> Result<(), Failure>;
    /// The check run of a command.
    async fn find_check(
        &self,
        meter: &Meter,
        repository: &Repository,
        check: &CheckRun,
    ) -> Result<Option<u64>, Failure>;
    /// Posts a check run.
    async fn post_check(&self, meter: &Meter, repository: &Repository, check: &CheckRun) -> Result<u64, Failure>;
    /// Replaces a check run.
    async fn edit_check(
        &self,
        meter: &Meter,
        repository: &Repository,
        id: u64,
        check: &CheckRun,
    ) -> Result<(), Failure>;
    /// Merges, if `commit` is still the head.
    async fn merge(&self, meter: &Meter, on: (&Repository, u64), commit: &str) -> Result<Merged, Failure>;
    /// Adds a label.
    async fn add_label(&self, meter: &Meter, on: (&Repository, u64), label: &str) -> Result<(), Failure>;
    /// Removes a label; one that is not there is removed already.
    async fn remove_label(&self, meter: &Meter, on: (&Repository, u64), label: &str) -> Result<(), Failure>;
    /// Pull requests that bear a label, closed ones too.
    async fn labeled(&self, meter: &Meter, repository: &Repository, label: &str) -> Result<Vec<u64>, Failure>;
}

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
