//! What the checks and statuses of a commit come to.

use async_graphql::{Context, ID, Object, Result, Union};

use super::Session;
use super::check::{CheckRun, StatusContext};
use super::enums::{CheckConclusionState, CheckStatusState, StatusState};
use super::fault::refusal;
use super::page::{Connection, Window};
use crate::model::Repository;
use crate::{node_id, store};

/// A check run or a status.
#[derive(Debug, Clone, Union)]
pub(super) enum StatusCheckRollupContext {
    CheckRun(Box<CheckRun>),
    StatusContext(StatusContext),
}

impl StatusCheckRollupContext {
    fn key(&self) -> i64 {
        match self {
            Self::CheckRun(one) => one.run.id * 2,
            Self::StatusContext(one) => one.status.id * 2 + 1,
        }
    }

    fn state(&self) -> StatusState {
        match self {
            Self::CheckRun(one) if one.state() != CheckStatusState::Completed => StatusState::Pending,
            Self::CheckRun(one) => match one.result() {
                Some(CheckConclusionState::Success | CheckConclusionState::Neutral | CheckConclusionState::Skipped) => {
                    StatusState::Success
                }
                _ => StatusState::Failure,
            },
            Self::StatusContext(one) => one.result(),
        }
    }
}

/// What the checks and statuses of a commit come to.
#[derive(Debug, Clone)]
pub(super) struct StatusCheckRollup {
    repository: Repository,
    sha: String,
    contexts: Vec<StatusCheckRollupContext>,
}

impl StatusCheckRollup {
    /// None for a commit that nobody checked.
    pub(super) async fn of(ctx: &Context<'_>, repository: &Repository, sha: &str) -> Result<Option<Self>> {
        let (id, wanted) = (repository.id, sha.to_owned());
        let read = move |db: &rusqlite::Connection| {
            let runs = store::check_runs(db, id, &wanted, true, store::Page::ALL)?;
            Ok((runs, store::statuses(db, id, &wanted, true, store::Page::ALL)?))
        };
        let (runs, statuses) = Session::of(ctx)?.hub.store.read(read).await.map_err(refusal)?;
        let runs = runs
            .into_iter()
            .map(|run| StatusCheckRollupContext::CheckRun(Box::new(CheckRun { repository: repository.clone(), run })));
        let statuses =
            statuses.into_iter().rev().map(|status| StatusCheckRollupContext::StatusContext(StatusContext { status }));
        let contexts: Vec<_> = runs.chain(statuses).collect();
        if contexts.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self { repository: repository.clone(), sha: sha.to_owned(), contexts }))
    }
}

#[Object]
impl StatusCheckRollup {
    pub(super) async fn id(&self) -> ID {
        node_id::in_git("SCR", self.repository.id, &self.sha).into()
    }

    async fn state(&self) -> StatusState {
        let worst = [StatusState::Error, StatusState::Failure, StatusState::Pending];
        let has = |state: &StatusState| self.contexts.iter().any(|context| context.state() == *state);
        worst.into_iter().find(has).unwrap_or(StatusState::Success)
    }

    async fn contexts(
        &self,
        after: Option<String>,
        before: Option<String>,
        first: Option<i32>,
        last: Option<i32>,
    ) -> Result<Connection<StatusCheckRollupContext>> {
        let key = StatusCheckRollupContext::key;
        Window { first, last, after, before }.of("contexts", self.contexts.clone(), key)
    }
}
