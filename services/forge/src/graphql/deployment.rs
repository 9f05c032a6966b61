//! Deployments and their statuses.

use async_graphql::{Context, ID, Object, Result};
use serde_json::Value;

use super::actor::Actor;
use super::commit::Commit;
use super::enums::{DeploymentState, DeploymentStatusState, from_rest};
use super::fault::refusal;
use super::page::{Connection, Window};
use super::{DateTime, Session, Uri};
use crate::json::node;
use crate::model::Repository;
use crate::store;

/// A deployment.
#[derive(Debug, Clone)]
pub(super) struct Deployment {
    pub(super) repository: Repository,
    pub(super) row: store::Deployment,
}

fn word(row: &store::Deployment, name: &str) -> Option<String> {
    row.fields.get(name).and_then(Value::as_str).map(str::to_owned)
}

impl Deployment {
    async fn all(&self, ctx: &Context<'_>) -> Result<Vec<DeploymentStatus>> {
        let id = self.row.id;
        let read = move |db: &rusqlite::Connection| store::deployment_statuses(db, id, store::Page::ALL);
        let found = Session::of(ctx)?.hub.store.read(read).await.map_err(refusal)?;
        let found = found.into_iter();
        Ok(found.map(|row| DeploymentStatus { repository: self.repository.clone(), row }).collect())
    }
}

#[Object]
impl Deployment {
    pub(super) async fn id(&self) -> ID {
        node("DE", self.row.id).into()
    }

    async fn database_id(&self) -> Option<i32> {
        i32::try_from(self.row.id).ok()
    }

    async fn commit(&self) -> Option<Commit> {
        Some(Commit { repository: self.repository.clone(), sha: self.row.sha.clone() })
    }

    async fn commit_oid(&self) -> String {
        self.row.sha.clone()
    }

    async fn created_at(&self) -> DateTime {
        DateTime(self.row.created_at.clone())
    }

    async fn creator(&self) -> Actor {
        Actor::from(&self.row.creator)
    }

    async fn description(&self) -> Option<String> {
        word(&self.row, "description")
    }

    async fn environment(&self) -> Option<String> {
        Some(self.row.environment.clone())
    }

    /// JSON, also where the payload is a text.
    async fn payload(&self) -> Option<String> {
        self.row.fields.get("payload").filter(|payload| !payload.is_null()).map(Value::to_string)
    }

    async fn task(&self) -> Option<String> {
        word(&self.row, "task").or_else(|| Some("deploy".to_owned()))
    }

    async fn state(&self, ctx: &Context<'_>) -> Option<Result<DeploymentState>> {
        let newest = self.all(ctx).await.map(|all| all.into_iter().next().map(|status| status.result()));
        let state = newest.map(|newest| match newest {
            Some(DeploymentStatusState::Success) => DeploymentState::Active,
            Some(DeploymentStatusState::Error) => DeploymentState::Error,
            Some(DeploymentStatusState::Failure) => DeploymentState::Failure,
            Some(DeploymentStatusState::Inactive) => DeploymentState::Inactive,
            Some(DeploymentStatusState::InProgress) => DeploymentState::InProgress,
            Some(DeploymentStatusState::Queued) => DeploymentState::Queued,
            Some(DeploymentStatusState::Waiting) => DeploymentState::Waiting,
            Some(DeploymentStatusState::Pending) | None => DeploymentState::Pending,
        });
        Some(state)
    }

    async fn latest_status(&self, ctx: &Context<'_>) -> Option<Result<DeploymentStatus>> {
        self.all(ctx).await.map(|all| all.into_iter().next()).transpose()
    }

    async fn statuses(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        before: Option<String>,
        first: Option<i32>,
        last: Option<i32>,
    ) -> Option<Result<Connection<DeploymentStatus>>> {
        let all = self.all(ctx).await;
        Some(all.and_then(|all| Window { first, last, after, before }.of("statuses", all, |one| one.row.id)))
    }
}

/// A status of a deployment.
#[derive(Debug, Clone)]
pub(super) struct DeploymentStatus {
    pub(super) repository: Repository,
    pub(super) row: store::Deployment,
}

impl DeploymentStatus {
    fn result(&self) -> DeploymentStatusState {
        word(&self.row, "state").as_deref().and_then(from_rest).unwrap_or(DeploymentStatusState::Pending)
    }
}

#[Object]
impl DeploymentStatus {
    pub(super) async fn id(&self) -> ID {
        node("DS", self.row.id).into()
    }

    async fn state(&self) -> DeploymentStatusState {
        self.result()
    }

    async fn description(&self) -> Option<String> {
        word(&self.row, "description")
    }

    async fn environment(&self) -> Option<String> {
        Some(self.row.environment.clone())
    }

    async fn environment_url(&self) -> Option<Uri> {
        word(&self.row, "environment_url").map(Uri)
    }

    async fn log_url(&self) -> Option<Uri> {
        word(&self.row, "log_url").map(Uri)
    }

    async fn created_at(&self) -> DateTime {
        DateTime(self.row.created_at.clone())
    }

    async fn creator(&self) -> Actor {
        Actor::from(&self.row.creator)
    }

    async fn deployment(&self, ctx: &Context<'_>) -> Result<Deployment> {
        let (repository, parent) = (self.repository.id, self.row.parent.unwrap_or_default());
        let read = move |db: &rusqlite::Connection| store::deployment(db, repository, parent);
        let row = Session::of(ctx)?.hub.store.read(read).await.map_err(refusal)?;
        let row = row.ok_or_else(|| refusal(crate::error::Error::NotFound))?;
        Ok(Deployment { repository: self.repository.clone(), row })
    }
}
