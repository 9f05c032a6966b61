//! Repositories, from which everything else is found.

use async_graphql::{Context, ID, Object, Result};

use super::commit::{Blob, Commit, GitObject, Ref, Tree};
use super::deployment::Deployment;
use super::enums::{OrderDirection, PullRequestState};
use super::fault::{fault, refusal};
use super::input::DeploymentOrder;
use super::page::{Connection, Window};
use super::pull::PullRequest;
use super::talk::Label;
use super::{GitObjectId, Session, Uri};
use crate::error::Error;
use crate::git::Kind;
use crate::json::node;
use crate::{model, names, store};

/// A repository.
#[derive(Debug, Clone)]
pub(super) struct Repository(pub(super) model::Repository);

impl Repository {
    /// `branch:path`, `sha:path`, or the name of a commit.
    async fn look(&self, session: &Session, expression: &str) -> Result<Option<GitObject>, Error> {
        let (commit, path) = match expression.split_once(':') {
            Some((commit, path)) => (commit, Some(path)),
            None => (expression, None),
        };
        let commit = if commit == "HEAD" { self.0.default_branch.as_str() } else { commit };
        let bare = session.hub.bare(&self.0)?;
        let Some(sha) = bare.commit_of(commit).await? else { return Ok(None) };
        let Some(path) = path else {
            return Ok(Some(GitObject::Commit(Commit { repository: self.0.clone(), sha })));
        };
        let Some(path) = names::tree_path(path).filter(|path| !path.is_empty()) else { return Ok(None) };
        let Some(entry) = bare.list(&sha, path, false).await?.into_iter().next() else { return Ok(None) };
        Ok(match entry.kind {
            Kind::Submodule => None,
            Kind::Folder => Some(GitObject::Tree(Tree { repository: self.0.clone(), entry })),
            Kind::File | Kind::Symlink => {
                let bytes = bare.blob(&entry.sha).await?;
                Some(GitObject::Blob(Blob { repository: self.0.clone(), sha: entry.sha, bytes }))
            }
        })
    }
}

#[Object]
impl Repository {
    pub(super) async fn id(&self) -> ID {
        node("R", self.0.id).into()
    }

    async fn database_id(&self) -> Option<i32> {
        i32::try_from(self.0.id).ok()
    }

    async fn name(&self) -> String {
        self.0.name.clone()
    }

    async fn name_with_owner(&self) -> String {
        self.0.full_name()
    }

    async fn merge_commit_allowed(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(Session::of(ctx)?.hub.protections.methods_of(&self.0).merge)
    }

    async fn squash_merge_allowed(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(Session::of(ctx)?.hub.protections.methods_of(&self.0).squash)
    }

    async fn rebase_merge_allowed(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(Session::of(ctx)?.hub.protections.methods_of(&self.0).rebase)
    }

    async fn is_private(&self) -> bool {
        false
    }

    pub(super) async fn url(&self, ctx: &Context<'_>) -> Result<Uri> {
        Ok(Uri(Session::of(ctx)?.hub.urls.html(&self.0)))
    }

    async fn default_branch_ref(&self, ctx: &Context<'_>) -> Option<Result<Ref>> {
        let found = async {
            let full = format!("refs/heads/{}", self.0.default_branch);
            Ref::find(Session::of(ctx)?, &self.0, &full).await.map_err(refusal)
        };
        found.await.transpose()
    }

    async fn r#ref(&self, ctx: &Context<'_>, qualified_name: String) -> Option<Result<Ref>> {
        let found = async { Ref::find(Session::of(ctx)?, &self.0, &qualified_name).await.map_err(refusal) };
        found.await.transpose()
    }

    async fn object(
        &self,
        ctx: &Context<'_>,
        expression: Option<String>,
        oid: Option<GitObjectId>,
    ) -> Option<Result<GitObject>> {
        let name = oid.map(|oid| oid.0).or(expression).unwrap_or_default();
        let found = async { self.look(Session::of(ctx)?, &name).await.map_err(refusal) };
        found.await.transpose()
    }

    async fn label(&self, ctx: &Context<'_>, name: String) -> Option<Result<Label>> {
        let found = async {
            let id = self.0.id;
            let read = move |db: &rusqlite::Connection| store::label(db, id, &name);
            let label = Session::of(ctx)?.hub.store.read(read).await.map_err(refusal)?;
            Ok(label.map(|label| Label { repository: self.0.clone(), label }))
        };
        found.await.transpose()
    }

    pub(super) async fn labels(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        before: Option<String>,
        first: Option<i32>,
        last: Option<i32>,
    ) -> Option<Result<Connection<Label>>> {
        let found = async {
            let id = self.0.id;
            let read = move |db: &rusqlite::Connection| store::labels(db, id, store::Page::ALL);
            let all = Session::of(ctx)?.hub.store.read(read).await.map_err(refusal)?.into_iter();
            let all = all.map(|label| Label { repository: self.0.clone(), label }).collect();
            Window { first, last, after, before }.of("labels", all, |one: &Label| one.label.id)
        };
        Some(found.await)
    }

    async fn pull_request(&self, ctx: &Context<'_>, number: i32) -> Option<Result<PullRequest>> {
        let found = async {
            match Session::of(ctx)?.hub.pull(&self.0, i64::from(number)).await {
                Ok((issue, pull)) => Ok(PullRequest { repository: self.0.clone(), issue, pull }),
                Err(Error::NotFound) => {
                    let text = format!("Could not resolve to a PullRequest with the number of {number}.");
                    Err(fault("NOT_FOUND", text))
                }
                Err(error) => Err(refusal(error)),
            }
        };
        Some(found.await)
    }

    #[expect(clippy::too_many_arguments, reason = "the arguments of GitHub's field")]
    async fn pull_requests(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        base_ref_name: Option<String>,
        before: Option<String>,
        first: Option<i32>,
        head_ref_name: Option<String>,
        labels: Option<Vec<String>>,
        last: Option<i32>,
        states: Option<Vec<PullRequestState>>,
    ) -> Result<Connection<PullRequest>> {
        let filter = store::Filter {
            pulls_only: true,
            head_ref: head_ref_name,
            base_ref: base_ref_name,
            ascending: true,
            ..store::Filter::default()
        };
        let id = self.0.id;
        let read = move |db: &rusqlite::Connection| store::issues(db, id, &filter, store::Page::ALL);
        let found = Session::of(ctx)?.hub.store.read(read).await.map_err(refusal)?;
        // Any of the labels will do here; REST wants all of them.
        let labelled = |issue: &model::Issue| {
            let has = |name: &String| issue.labels.iter().any(|label| label.name.eq_ignore_ascii_case(name));
            labels.as_ref().is_none_or(|labels| labels.iter().any(has))
        };
        let wanted = |issue: &model::Issue, pull: &model::Pull| {
            let state = match (issue.open, &pull.merged_at) {
                (true, _) => PullRequestState::Open,
                (false, Some(_)) => PullRequestState::Merged,
                (false, None) => PullRequestState::Closed,
            };
            states.as_ref().is_none_or(|states| states.contains(&state))
        };
        let all = found
            .into_iter()
            .filter_map(|issue| {
                let pull = issue.pull.clone().filter(|pull| labelled(&issue) && wanted(&issue, pull))?;
                Some(PullRequest { repository: self.0.clone(), issue, pull })
            })
            .collect();
        Window { first, last, after, before }.of("pullRequests", all, |one| one.issue.number)
    }

    #[expect(clippy::too_many_arguments, reason = "the arguments of GitHub's field")]
    async fn deployments(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        before: Option<String>,
        environments: Option<Vec<String>>,
        first: Option<i32>,
        last: Option<i32>,
        order_by: Option<DeploymentOrder>,
    ) -> Result<Connection<Deployment>> {
        let id = self.0.id;
        let read = move |db: &rusqlite::Connection| store::deployments(db, id, None, None, store::Page::ALL);
        let mut found = Session::of(ctx)?.hub.store.read(read).await.map_err(refusal)?;
        if order_by.is_none_or(|order| order.direction == OrderDirection::Asc) {
            found.reverse();
        }
        let wanted = |row: &store::Deployment| environments.as_ref().is_none_or(|all| all.contains(&row.environment));
        let all = found.into_iter().filter(wanted);
        let all = all.map(|row| Deployment { repository: self.0.clone(), row }).collect();
        Window { first, last, after, before }.of("deployments", all, |one| one.row.id)
    }
}
