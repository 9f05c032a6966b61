//! GitHub, as far as it is needed.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use async_trait::async_trait;
use bytes::Bytes;
use kfops_core::Failure;

use crate::command::{PullRequest, Repository};

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
