//! Pull requests.

use async_graphql::{Context, ID, Object, Result};

use super::actor::Actor;
use super::commit::{Commit, PullRequestCommit, Ref};
use super::enums::{
    CommentAuthorAssociation, MergeStateStatus, MergeableState, PullRequestReviewState, PullRequestState, from_rest,
};
use super::fault::refusal;
use super::input::IssueCommentOrder;
use super::issue::{comments_of, labels_of};
use super::page::{Connection, Window};
use super::repository::Repository;
use super::talk::{IssueComment, Label, PullRequestReview, bond};
use super::{DateTime, GitObjectId, Session, Uri};
use crate::json::node;
use crate::model;
use crate::store;

/// Most commits of a pull request that are listed.
const COMMITS: usize = 250;

/// A pull request.
#[derive(Debug, Clone)]
pub(super) struct PullRequest {
    pub(super) repository: model::Repository,
    pub(super) issue: model::Issue,
    pub(super) pull: model::Pull,
}

#[Object]
impl PullRequest {
    pub(super) async fn id(&self) -> ID {
        node("PR", self.issue.id).into()
    }

    async fn number(&self) -> i32 {
        i32::try_from(self.issue.number).unwrap_or(i32::MAX)
    }

    async fn title(&self) -> String {
        self.issue.title.clone()
    }

    async fn body(&self) -> String {
        self.issue.body.clone().unwrap_or_default()
    }

    async fn state(&self) -> PullRequestState {
        match (self.issue.open, &self.pull.merged_at) {
            (true, _) => PullRequestState::Open,
            (false, Some(_)) => PullRequestState::Merged,
            (false, None) => PullRequestState::Closed,
        }
    }

    async fn is_draft(&self) -> bool {
        self.pull.draft
    }

    async fn mergeable(&self, ctx: &Context<'_>) -> Result<MergeableState> {
        let facts = Session::of(ctx)?.hub.facts(&self.repository, &self.issue, &self.pull).await.map_err(refusal)?;
        Ok(match facts.mergeable {
            Some(true) => MergeableState::Mergeable,
            Some(false) => MergeableState::Conflicting,
            None => MergeableState::Unknown,
        })
    }

    async fn merge_state_status(&self, ctx: &Context<'_>) -> Result<MergeStateStatus> {
        let facts = Session::of(ctx)?.hub.facts(&self.repository, &self.issue, &self.pull).await.map_err(refusal)?;
        Ok(from_rest(facts.mergeable_state).unwrap_or(MergeStateStatus::Unknown))
    }

    async fn is_merge_queue_enabled(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(Session::of(ctx)?.hub.protections.of(&self.repository, &self.pull.base_ref).merge_queue)
    }

    async fn merged(&self) -> bool {
        self.pull.merged_at.is_some()
    }

    async fn merged_at(&self) -> Option<DateTime> {
        self.pull.merged_at.clone().map(DateTime)
    }

    async fn created_at(&self) -> DateTime {
        DateTime(self.issue.created_at.clone())
    }

    async fn head_ref_oid(&self) -> GitObjectId {
        GitObjectId(self.pull.head_sha.clone())
    }

    async fn head_ref_name(&self) -> String {
        self.pull.head_ref.clone()
    }

    async fn head_ref(&self, ctx: &Context<'_>) -> Option<Result<Ref>> {
        self.branch(ctx, self.head(), &self.pull.head_ref).await.transpose()
    }

    async fn head_repository(&self) -> Option<Repository> {
        self.head().cloned().map(Repository)
    }

    async fn is_cross_repository(&self) -> bool {
        self.pull.fork.is_some()
    }

    async fn base_ref_name(&self) -> String {
        self.pull.base_ref.clone()
    }

    async fn base_ref_oid(&self) -> GitObjectId {
        GitObjectId(self.pull.base_sha.clone())
    }

    async fn base_ref(&self, ctx: &Context<'_>) -> Option<Result<Ref>> {
        self.branch(ctx, Some(&self.repository), &self.pull.base_ref).await.transpose()
    }

    async fn merge_commit(&self) -> Option<Commit> {
        let sha = self.pull.merge_commit_sha.clone()?;
        Some(Commit { repository: self.repository.clone(), sha })
    }

    async fn author(&self) -> Option<Actor> {
        Some(Actor::from(&self.issue.user))
    }

    async fn author_association(&self) -> CommentAuthorAssociation {
        bond(&self.repository, &self.issue.user)
    }

    async fn repository(&self) -> Repository {
        Repository(self.repository.clone())
    }

    pub(super) async fn url(&self, ctx: &Context<'_>) -> Result<Uri> {
        Ok(Uri(format!("{}/pull/{}", Session::of(ctx)?.hub.urls.html(&self.repository), self.issue.number)))
    }

    #[expect(clippy::too_many_arguments, reason = "the arguments of GitHub's field")]
    async fn reviews(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        author: Option<String>,
        before: Option<String>,
        first: Option<i32>,
        last: Option<i32>,
        states: Option<Vec<PullRequestReviewState>>,
    ) -> Option<Result<Connection<PullRequestReview>>> {
        let found = async {
            let id = self.issue.id;
            let read = move |db: &rusqlite::Connection| store::reviews(db, id, store::Page::ALL);
            let found = Session::of(ctx)?.hub.store.read(read).await.map_err(refusal)?.into_iter();
            let all = found
                .map(|review| PullRequestReview { repository: self.repository.clone(), review })
                .filter(|one| states.as_ref().is_none_or(|states| states.contains(&one.verdict())))
                .filter(|one| author.as_ref().is_none_or(|login| one.review.user.login.eq_ignore_ascii_case(login)))
                .collect();
            Window { first, last, after, before }.of("reviews", all, |one| one.review.id)
        };
        Some(found.await)
    }

    async fn comments(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        before: Option<String>,
        first: Option<i32>,
        last: Option<i32>,
        order_by: Option<IssueCommentOrder>,
    ) -> Result<Connection<IssueComment>> {
        let window = Window { first, last, after, before };
        comments_of(ctx, &self.repository, self.issue.id, order_by, window).await
    }

    pub(super) async fn labels(
        &self,
        after: Option<String>,
        before: Option<String>,
        first: Option<i32>,
        last: Option<i32>,
    ) -> Option<Result<Connection<Label>>> {
        Some(labels_of(&self.repository, &self.issue, &Window { first, last, after, before }))
    }

    async fn commits(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        before: Option<String>,
        first: Option<i32>,
        last: Option<i32>,
    ) -> Result<Connection<PullRequestCommit>> {
        let bare = Session::of(ctx)?.hub.bare(&self.repository).map_err(refusal)?;
        let all = bare.commits(&self.pull.base_sha, &self.pull.head_sha, COMMITS).await.map_err(refusal)?;
        let all = (0..)
            .zip(all)
            .map(|(index, commit)| PullRequestCommit {
                repository: self.repository.clone(),
                pull: self.issue.id,
                sha: commit.sha,
                index,
            })
            .collect();
        Window { first, last, after, before }.of("commits", all, |one| one.index)
    }
}

impl PullRequest {
    /// Where the head is; none once its fork is deleted.
    fn head(&self) -> Option<&model::Repository> {
        match &self.pull.fork {
            None => Some(&self.repository),
            Some(fork) => fork.repository.as_deref(),
        }
    }

    async fn branch(&self, ctx: &Context<'_>, at: Option<&model::Repository>, name: &str) -> Result<Option<Ref>> {
        let Some(repository) = at else { return Ok(None) };
        let full = format!("refs/heads/{name}");
        Ref::find(Session::of(ctx)?, repository, &full).await.map_err(refusal)
    }
}
