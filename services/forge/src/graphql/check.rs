//! Check suites, check runs and commit statuses.

use async_graphql::{Context, ID, Object, Result};

use super::actor::{Actor, App};
use super::commit::Commit;
use super::enums::{CheckConclusionState, CheckStatusState, StatusState, from_rest};
use super::input::CheckRunFilter;
use super::page::{Connection, Window};
use super::{DateTime, Session, Uri};
use crate::json::node;
use crate::model::{self, Repository, Status};

/// The check runs of one App for one commit.
#[derive(Debug, Clone)]
pub(super) struct CheckSuite {
    pub(super) repository: Repository,
    pub(super) id: i64,
    pub(super) sha: String,
    pub(super) runs: Vec<model::CheckRun>,
}

#[Object]
impl CheckSuite {
    pub(super) async fn id(&self) -> ID {
        node("CS", self.id).into()
    }

    async fn database_id(&self) -> Option<i32> {
        i32::try_from(self.id).ok()
    }

    async fn app(&self) -> Option<App> {
        let run = self.runs.first()?;
        Some(App { id: run.app_id, slug: run.app.login.trim_end_matches("[bot]").to_owned() })
    }

    async fn commit(&self) -> Commit {
        Commit { repository: self.repository.clone(), sha: self.sha.clone() }
    }

    async fn check_runs(
        &self,
        after: Option<String>,
        before: Option<String>,
        filter_by: Option<CheckRunFilter>,
        first: Option<i32>,
        last: Option<i32>,
    ) -> Option<Result<Connection<CheckRun>>> {
        let found = filter_by.unwrap_or_default().apply(&self.runs).into_iter();
        let found = found.map(|run| CheckRun { repository: self.repository.clone(), run }).collect();
        Some(Window { first, last, after, before }.of("checkRuns", found, |one| one.run.id))
    }
}

/// A check run.
#[derive(Debug, Clone)]
pub(super) struct CheckRun {
    pub(super) repository: Repository,
    pub(super) run: model::CheckRun,
}

impl CheckRun {
    pub(super) fn state(&self) -> CheckStatusState {
        from_rest(&self.run.fields.status).unwrap_or(CheckStatusState::Queued)
    }

    pub(super) fn result(&self) -> Option<CheckConclusionState> {
        self.run.fields.conclusion.as_deref().and_then(from_rest)
    }
}

#[Object]
impl CheckRun {
    pub(super) async fn id(&self) -> ID {
        node("CR", self.run.id).into()
    }

    async fn database_id(&self) -> Option<i32> {
        i32::try_from(self.run.id).ok()
    }

    async fn name(&self) -> String {
        self.run.fields.name.clone()
    }

    async fn external_id(&self) -> Option<String> {
        self.run.fields.external_id.clone()
    }

    async fn status(&self) -> CheckStatusState {
        self.state()
    }

    async fn conclusion(&self) -> Option<CheckConclusionState> {
        self.result()
    }

    async fn started_at(&self) -> Option<DateTime> {
        self.run.fields.started_at.clone().map(DateTime)
    }

    async fn completed_at(&self) -> Option<DateTime> {
        self.run.fields.completed_at.clone().map(DateTime)
    }

    async fn details_url(&self) -> Option<Uri> {
        self.run.fields.details_url.clone().map(Uri)
    }

    async fn title(&self) -> Option<String> {
        self.run.fields.title.clone()
    }

    async fn summary(&self) -> Option<String> {
        self.run.fields.summary.clone()
    }

    async fn text(&self) -> Option<String> {
        self.run.fields.text.clone()
    }

    pub(super) async fn url(&self, ctx: &Context<'_>) -> Result<Uri> {
        Ok(Uri(format!("{}/runs/{}", Session::of(ctx)?.hub.urls.html(&self.repository), self.run.id)))
    }
}

/// A commit status.
#[derive(Debug, Clone)]
pub(super) struct StatusContext {
    pub(super) status: Status,
}

impl StatusContext {
    pub(super) fn result(&self) -> StatusState {
        from_rest(&self.status.state).unwrap_or(StatusState::Pending)
    }
}

#[Object]
impl StatusContext {
    pub(super) async fn id(&self) -> ID {
        node("SC", self.status.id).into()
    }

    async fn context(&self) -> String {
        self.status.context.clone()
    }

    async fn state(&self) -> StatusState {
        self.result()
    }

    async fn description(&self) -> Option<String> {
        self.status.description.clone()
    }

    async fn target_url(&self) -> Option<Uri> {
        self.status.target_url.clone().map(Uri)
    }

    async fn created_at(&self) -> DateTime {
        DateTime(self.status.created_at.clone())
    }

    async fn creator(&self) -> Option<Actor> {
        Some(Actor::from(&self.status.creator))
    }
}
