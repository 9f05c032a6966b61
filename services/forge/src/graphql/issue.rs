//! Issues, and what pull requests share with them: comments and labels.

use async_graphql::{Context, ID, Interface, Object, Result};

use super::Session;
use super::actor::Actor;
use super::enums::{IssueState, OrderDirection};
use super::fault::refusal;
use super::input::IssueCommentOrder;
use super::page::{Connection, Window};
use super::pull::PullRequest;
use super::talk::{IssueComment, Label};
use crate::json::node;
use crate::{model, store};

/// What can have labels.
#[derive(Debug, Clone, Interface)]
#[expect(clippy::duplicated_attributes, reason = "each argument has a name and a type")]
#[graphql(field(
    name = "labels",
    ty = "Option<Result<Connection<Label>>>",
    arg(name = "after", ty = "Option<String>"),
    arg(name = "before", ty = "Option<String>"),
    arg(name = "first", ty = "Option<i32>"),
    arg(name = "last", ty = "Option<i32>")
))]
pub(super) enum Labelable {
    PullRequest(Box<PullRequest>),
    Issue(Box<Issue>),
}

/// An issue that is no pull request.
#[derive(Debug, Clone)]
pub(super) struct Issue {
    pub(super) repository: model::Repository,
    pub(super) issue: model::Issue,
}

/// A pull request or an issue.
pub(super) fn labelable(repository: model::Repository, issue: model::Issue) -> Labelable {
    match issue.pull.clone() {
        Some(pull) => Labelable::PullRequest(Box::new(PullRequest { repository, issue, pull })),
        None => Labelable::Issue(Box::new(Issue { repository, issue })),
    }
}

pub(super) fn labels_of(
    repository: &model::Repository,
    issue: &model::Issue,
    window: &Window,
) -> Result<Connection<Label>> {
    let all = issue.labels.iter().map(|label| Label { repository: repository.clone(), label: label.clone() }).collect();
    window.of("labels", all, |one| one.label.id)
}

pub(super) async fn comments_of(
    ctx: &Context<'_>,
    repository: &model::Repository,
    issue: i64,
    order: Option<IssueCommentOrder>,
    window: Window,
) -> Result<Connection<IssueComment>> {
    let read = move |db: &rusqlite::Connection| store::comments(db, issue, None, store::Page::ALL);
    let mut all = Session::of(ctx)?.hub.store.read(read).await.map_err(refusal)?;
    if let Some(order) = order {
        all.sort_by(|one, other| (&one.updated_at, one.id).cmp(&(&other.updated_at, other.id)));
        if order.direction == OrderDirection::Desc {
            all.reverse();
        }
    }
    let all = all.into_iter().map(|comment| IssueComment { repository: repository.clone(), comment }).collect();
    window.of("comments", all, |one| one.comment.id)
}

#[Object]
impl Issue {
    pub(super) async fn id(&self) -> ID {
        node("I", self.issue.id).into()
    }

    async fn number(&self) -> i32 {
        i32::try_from(self.issue.number).unwrap_or(i32::MAX)
    }

    async fn title(&self) -> String {
        self.issue.title.clone()
    }

    async fn state(&self) -> IssueState {
        if self.issue.open { IssueState::Open } else { IssueState::Closed }
    }

    async fn author(&self) -> Option<Actor> {
        Some(Actor::from(&self.issue.user))
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
}
