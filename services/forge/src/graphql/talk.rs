//! Comments, reviews and labels.

use async_graphql::{Context, ID, Object, Result, SimpleObject};

use super::actor::Actor;
use super::commit::Commit;
use super::enums::{CommentAuthorAssociation, PullRequestReviewState, from_rest};
use super::{DateTime, Session, Uri};
use crate::json::{association, encode, node};
use crate::model::{self, Repository};

/// A comment on an issue or a pull request.
#[derive(Debug, Clone)]
pub(super) struct IssueComment {
    pub(super) repository: Repository,
    pub(super) comment: model::Comment,
}

pub(super) fn bond(repository: &Repository, user: &model::User) -> CommentAuthorAssociation {
    from_rest(association(repository, user)).unwrap_or(CommentAuthorAssociation::None)
}

#[Object]
impl IssueComment {
    pub(super) async fn id(&self) -> ID {
        node("IC", self.comment.id).into()
    }

    async fn database_id(&self) -> Option<i32> {
        i32::try_from(self.comment.id).ok()
    }

    async fn author(&self) -> Option<Actor> {
        Some(Actor::from(&self.comment.user))
    }

    async fn author_association(&self) -> CommentAuthorAssociation {
        bond(&self.repository, &self.comment.user)
    }

    async fn body(&self) -> String {
        self.comment.body.clone()
    }

    async fn created_at(&self) -> DateTime {
        DateTime(self.comment.created_at.clone())
    }

    async fn updated_at(&self) -> DateTime {
        DateTime(self.comment.updated_at.clone())
    }

    pub(super) async fn url(&self, ctx: &Context<'_>) -> Result<Uri> {
        let page = Session::of(ctx)?.hub.urls.html(&self.repository);
        Ok(Uri(format!("{page}/issues/{}#issuecomment-{}", self.comment.number, self.comment.id)))
    }

    async fn viewer_did_author(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(Session::of(ctx)?.user.id == self.comment.user.id)
    }
}

/// A comment with its place in the list.
#[derive(Debug, Clone, SimpleObject)]
pub(super) struct IssueCommentEdge {
    pub(super) cursor: String,
    pub(super) node: Option<IssueComment>,
}

/// A review of a pull request.
#[derive(Debug, Clone)]
pub(super) struct PullRequestReview {
    pub(super) repository: Repository,
    pub(super) review: model::Review,
}

impl PullRequestReview {
    pub(super) fn verdict(&self) -> PullRequestReviewState {
        from_rest(&self.review.state).unwrap_or(PullRequestReviewState::Commented)
    }
}

#[Object]
impl PullRequestReview {
    pub(super) async fn id(&self) -> ID {
        node("PRR", self.review.id).into()
    }

    async fn author(&self) -> Option<Actor> {
        Some(Actor::from(&self.review.user))
    }

    async fn author_can_push_to_repository(&self) -> bool {
        let user = &self.review.user;
        user.role >= model::Role::Write || user.id == self.repository.owner.id
    }

    async fn author_association(&self) -> CommentAuthorAssociation {
        bond(&self.repository, &self.review.user)
    }

    async fn body(&self) -> String {
        self.review.body.clone()
    }

    async fn commit(&self) -> Option<Commit> {
        Some(Commit { repository: self.repository.clone(), sha: self.review.commit_id.clone() })
    }

    async fn state(&self) -> PullRequestReviewState {
        self.verdict()
    }

    async fn submitted_at(&self) -> Option<DateTime> {
        Some(DateTime(self.review.submitted_at.clone()))
    }
}

/// A label of a repository.
#[derive(Debug, Clone)]
pub(super) struct Label {
    pub(super) repository: Repository,
    pub(super) label: model::Label,
}

#[Object]
impl Label {
    pub(super) async fn id(&self) -> ID {
        node("LA", self.label.id).into()
    }

    async fn name(&self) -> String {
        self.label.name.clone()
    }

    async fn color(&self) -> String {
        self.label.color.clone()
    }

    async fn description(&self) -> Option<String> {
        self.label.description.clone()
    }

    pub(super) async fn url(&self, ctx: &Context<'_>) -> Result<Uri> {
        let page = Session::of(ctx)?.hub.urls.html(&self.repository);
        Ok(Uri(format!("{page}/labels/{}", encode(&self.label.name))))
    }
}
