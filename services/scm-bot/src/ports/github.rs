//! GitHub, as far as it is needed.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use async_trait::async_trait;
use bytes::Bytes;
use kfops_core::Failure;
use kfops_project::Environment;
use kfops_telemetry::metrics::GITHUB;
use serde::{Deserialize, Serialize};

use crate::command::{Merging, PullRequest, Repository};

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
        let took = call.end.duration_since(call.start).unwrap_or_default();
        let (name, status) = (call.name.clone(), call.status.to_string());
        metrics::histogram!(GITHUB, "call" => name, "http_response_status_code" => status).record(took);
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
    /// May push to the repository.
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
    /// `success`, `failure`, `action_required`, `cancelled`, and when; None while it is in progress.
    pub completed: Option<(&'static str, SystemTime)>,
    /// One line.
    pub title: String,
    /// Markdown.
    pub summary: String,
    /// Where more is shown.
    pub details_url: Option<String>,
    /// Lines that are wrong; at most 50.
    pub annotations: Vec<Annotation>,
    /// Buttons; at most 3.
    pub buttons: Vec<Button>,
}

/// What one look at a pull request shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The pull request.
    pub pull: PullRequest,
    /// The repository's default branch.
    pub default_branch: String,
    /// The project's file in the default branch, by path (one of `kfops_project::PROJECT_FILES`), if there is one.
    pub project: Option<(String, Bytes)>,
    /// Reviews, oldest first.
    pub reviews: Vec<Review>,
    /// Names of the check runs and statuses that succeeded on the head.
    pub succeeded: Vec<String>,
    /// How the repository merges.
    pub merging: Merging,
}

/// Something of a command that stands on GitHub, or shall.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written<T> {
    /// As GitHub (or its adapter) named it; None: it is new.
    pub id: Option<String>,
    /// What it shall be.
    pub content: T,
}

/// Everything of a command that is to be written now; together in as few requests as GitHub allows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Post {
    /// The live comment, Markdown.
    pub comment: Option<Written<String>>,
    /// The check run. Without an App's identity: a commit status of the same name.
    pub check: Option<Written<CheckRun>>,
    /// The deployment with its newest status.
    pub deployment: Option<Written<Deployment>>,
}

/// What became of a `Post`, part by part: its id, or why not (`NOT_FOUND`: someone deleted it). None: not asked for, or
/// not tried because GitHub was away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PostOutcome {
    /// The live comment.
    pub comment: Option<Result<String, Failure>>,
    /// The check run.
    pub check: Option<Result<String, Failure>>,
    /// The deployment.
    pub deployment: Option<Result<String, Failure>>,
}

/// What a command has on GitHub already, looked up after a crash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Id of the live comment.
    pub comment: Option<String>,
    /// Id of the check run.
    pub check: Option<String>,
    /// Id of the deployment.
    pub deployment: Option<String>,
}

/// A record of what was deployed where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// The command's id: payload of the deployment, by which it is found again.
    pub command: String,
    /// The commit.
    pub commit: String,
    /// e.g. `production`.
    pub environment: String,
    /// Whether users meet it.
    pub production: bool,
    /// How far it is.
    pub state: DeploymentState,
    /// One line.
    pub description: String,
    /// Where predictions are answered.
    pub environment_url: Option<String>,
    /// The trace.
    pub log_url: Option<String>,
}

/// How far a deployment is, as GitHub names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentState {
    /// Under way.
    InProgress,
    /// Live.
    Success,
    /// Not live.
    Failure,
    /// Kfops could not find out.
    Error,
}

/// A webhook that GitHub says it sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentDelivery {
    /// `X-GitHub-Delivery`.
    pub guid: String,
    /// Where its payload is read: opaque to all but the adapter.
    pub handle: String,
    /// `X-GitHub-Event`.
    pub event: String,
    /// `action` of the payload.
    pub action: String,
    /// When it was sent first.
    pub delivered: SystemTime,
}

/// A line of a file that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotation {
    /// Relative to the root of the repository.
    pub path: String,
    /// From 1.
    pub line: u32,
    /// Column, from 1; None for the whole line.
    pub column: Option<u32>,
    /// What is wrong.
    pub message: String,
    /// Whether it is only a warning.
    pub warning: bool,
}

/// A button of a check run (`requested_action`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Button {
    /// Does again what failed.
    Retry,
    /// Ends what is under way.
    Cancel,
}

impl Button {
    /// `identifier` of the action; at most 20 characters.
    #[must_use]
    pub const fn identifier(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Cancel => "cancel",
        }
    }
}

/// The label of an environment. There is one bearer per repository.
#[must_use]
pub const fn deployed_label(environment: Environment) -> &'static str {
    match environment {
        Environment::Production => "Deployed-to-production",
        Environment::Staging => "Deployed-to-staging",
    }
}

/// The labels that `move_label` is asked to move, so that a look can note who bears them.
pub const DEPLOYED_LABELS: [&str; 2] = [deployed_label(Environment::Production), deployed_label(Environment::Staging)];

/// GitHub's API, as far as it is needed. A failure with `GITHUB_UNAVAILABLE` may have had its effect.
#[async_trait]
pub trait GitHub: Send + Sync + 'static {
    /// The bot's login, if GitHub can say it.
    async fn login(&self) -> Result<Option<String>, Failure> {
        Ok(None)
    }
    /// Everything about a pull request that the gate needs, in one request where GitHub allows it.
    async fn look(&self, meter: &Meter, on: (&Repository, u64)) -> Result<Look, Failure>;
    /// Writes all parts. A failure of the whole, or of a part with `GITHUB_UNAVAILABLE`, may have had its effect.
    async fn post(&self, meter: &Meter, on: (&Repository, u64), post: &Post) -> Result<PostOutcome, Failure>;
    /// What a command has on GitHub already: the bot's own comment since `since` that begins with `marker`, and the check
    /// run and deployment with these contents' keys (name and external id; environment and command).
    async fn find(
        &self,
        meter: &Meter,
        on: (&Repository, u64),
        marker: &str,
        since: SystemTime,
        check: Option<&CheckRun>,
        deployment: Option<&Deployment>,
    ) -> Result<Found, Failure>;
    /// Puts a label on a pull request and takes it from all others of the repository, open and closed; the numbers of
    /// those. Twice is once.
    async fn move_label(&self, meter: &Meter, on: (&Repository, u64), label: &str) -> Result<Vec<u64>, Failure>;
    /// Webhooks that GitHub sent (or tried to) since a time, oldest first, each GUID once.
    async fn deliveries(&self, since: SystemTime) -> Result<Vec<SentDelivery>, Failure>;
    /// The payload of one, as it was signed.
    async fn delivery_payload(&self, delivery: &SentDelivery) -> Result<Bytes, Failure>;
    /// The text of a comment as it stands now; None when it was deleted.
    async fn comment(&self, meter: &Meter, repository: &Repository, id: u64) -> Result<Option<String>, Failure>;
    /// A pull request.
    async fn pull_request(&self, meter: &Meter, repository: &Repository, number: u64) -> Result<PullRequest, Failure>;
    /// The permission of a user, as GitHub names it (`none`, `read`, `triage`, `write`, `maintain`, `admin`).
    async fn permission(&self, meter: &Meter, repository: &Repository, user: &str) -> Result<String, Failure>;
    /// Whether a user is an active member of `organization/team`.
    async fn team_member(&self, meter: &Meter, team: &str, user: &str) -> Result<bool, Failure>;
    /// By how many commits `head` is behind `base`.
    async fn behind_by(&self, meter: &Meter, repository: &Repository, base: &str, head: &str) -> Result<u64, Failure>;
    /// The gzip-compressed tar archive of a commit.
    async fn archive(&self, meter: &Meter, repository: &Repository, commit: &str) -> Result<Bytes, Failure>;
    /// Merges, if `commit` is still the head.
    async fn merge(&self, meter: &Meter, on: (&Repository, u64), commit: &str) -> Result<Merged, Failure>;
}
