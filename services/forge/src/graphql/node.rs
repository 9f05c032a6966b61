//! Whatever has an id, found by it.

use async_graphql::{ID, Interface, Result};

use super::Session;
use super::actor::{App, Bot, User};
use super::check::{CheckRun, CheckSuite, StatusContext};
use super::commit::{Blob, Commit, PullRequestCommit, Ref, Tree};
use super::deployment::{Deployment, DeploymentStatus};
use super::fault::{fault, no_node, refusal};
use super::issue::{Issue, Labelable, labelable};
use super::pull::PullRequest;
use super::repository::Repository;
use super::rollup::StatusCheckRollup;
use super::talk::{IssueComment, Label, PullRequestReview};
use crate::error::Error;
use crate::node_id::NodeId;
use crate::{names, store};

/// Whatever has an id.
#[derive(Debug, Clone, Interface)]
#[graphql(field(name = "id", ty = "ID"))]
pub(super) enum Node {
    App(App),
    Blob(Blob),
    Bot(Bot),
    CheckRun(Box<CheckRun>),
    CheckSuite(CheckSuite),
    Commit(Commit),
    Deployment(Deployment),
    DeploymentStatus(DeploymentStatus),
    Issue(Box<Issue>),
    IssueComment(IssueComment),
    Label(Label),
    PullRequest(Box<PullRequest>),
    PullRequestCommit(PullRequestCommit),
    PullRequestReview(PullRequestReview),
    Ref(Ref),
    Repository(Repository),
    StatusCheckRollup(StatusCheckRollup),
    StatusContext(StatusContext),
    Tree(Tree),
    User(User),
}

/// The node of an id that the caller sees, or the error that there is none.
pub(super) async fn find(session: &Session, id: &ID) -> Result<Node> {
    let parsed = NodeId::parse(id).ok_or_else(|| no_node(id))?;
    match look(session, &parsed).await {
        Ok(Some(node)) => Ok(node),
        Ok(None) | Err(Error::NotFound) => Err(no_node(id)),
        Err(error) => Err(refusal(error)),
    }
}

/// The same, where it is to be changed: what is archived is only read.
pub(super) async fn find_to_change(session: &Session, id: &ID) -> Result<Node> {
    let found = find(session, id).await?;
    let home = match &found {
        Node::CheckRun(one) => Some(&one.repository),
        Node::Deployment(one) => Some(&one.repository),
        Node::Issue(one) => Some(&one.repository),
        Node::IssueComment(one) => Some(&one.repository),
        Node::PullRequest(one) => Some(&one.repository),
        Node::Repository(one) => Some(&one.0),
        _ => None,
    };
    if home.is_some_and(|repository| repository.archived) {
        return Err(fault("FORBIDDEN", "Repository was archived so is read-only."));
    }
    Ok(found)
}

/// The repository of an id, to be changed.
pub(super) async fn repository(session: &Session, id: &ID) -> Result<crate::model::Repository> {
    match find_to_change(session, id).await? {
        Node::Repository(found) => Ok(found.0),
        _ => Err(no_node(id)),
    }
}

async fn look(session: &Session, id: &NodeId) -> Result<Option<Node>, Error> {
    let (row, kind) = (id.row, id.kind.clone());
    if matches!(kind.as_str(), "U" | "BOT") {
        let user = session.hub.store.read(move |db| store::user_by_id(db, row)).await?;
        return Ok(match (user.is_bot(), kind.as_str()) {
            (true, "BOT") => Some(Node::Bot(Bot(user))),
            (false, "U") => Some(Node::User(User(user))),
            _ => None,
        });
    }
    let in_git = matches!(kind.as_str(), "R" | "C" | "B" | "REF");
    let found = session
        .hub
        .store
        .read(move |db| {
            let (repository, number) = match in_git {
                true => (row, 0),
                false => store::place_of(db, &kind, row)?.ok_or(Error::NotFound)?,
            };
            Ok((store::repository_by_id(db, repository)?, number))
        })
        .await?;
    let (repository, number) = found;
    let Some(repository) = session.seen(repository) else { return Ok(None) };
    let (home, store) = (repository.id, &session.hub.store);
    Ok(match id.kind.as_str() {
        "R" => Some(Node::Repository(Repository(repository))),
        "C" if names::is_sha(&id.name) => {
            let sha = session.hub.bare(&repository)?.commit_of(&id.name).await?;
            sha.map(|sha| Node::Commit(Commit { repository, sha }))
        }
        "B" if names::is_sha(&id.name) => {
            let bytes = session.hub.bare(&repository)?.blob(&id.name).await.map_err(|_| Error::NotFound)?;
            Some(Node::Blob(Blob { repository, sha: id.name.clone(), bytes }))
        }
        "REF" => Ref::find(session, &repository, &id.name).await?.map(Node::Ref),
        "I" | "PR" => {
            let issue = session.hub.issue(&repository, number).await?;
            match (labelable(repository, issue), id.kind.as_str()) {
                (Labelable::PullRequest(found), "PR") => Some(Node::PullRequest(found)),
                (Labelable::Issue(found), "I") => Some(Node::Issue(found)),
                _ => None,
            }
        }
        "IC" => {
            let comment = store.read(move |db| store::comment(db, home, row)).await?;
            comment.map(|comment| Node::IssueComment(IssueComment { repository, comment }))
        }
        "PRR" => {
            let issue = session.hub.issue(&repository, number).await?.id;
            let all = store.read(move |db| store::reviews(db, issue, store::Page::ALL)).await?;
            let review = all.into_iter().find(|review| review.id == row);
            review.map(|review| Node::PullRequestReview(PullRequestReview { repository, review }))
        }
        "LA" => {
            let all = store.read(move |db| store::labels(db, home, store::Page::ALL)).await?;
            let label = all.into_iter().find(|label| label.id == row);
            label.map(|label| Node::Label(Label { repository, label }))
        }
        "CR" => {
            let run = store.read(move |db| store::check_run(db, home, row)).await?;
            run.map(|run| Node::CheckRun(Box::new(CheckRun { repository, run })))
        }
        "DE" => {
            let deployment = store.read(move |db| store::deployment(db, home, row)).await?;
            deployment.map(|row| Node::Deployment(Deployment { repository, row }))
        }
        _ => None,
    })
}
