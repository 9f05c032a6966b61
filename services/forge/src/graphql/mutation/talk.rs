//! Comments, and merges.

use async_graphql::{ID, InputObject, Result, SimpleObject};

use super::super::actor::Actor;
use super::super::enums::PullRequestMergeMethod;
use super::super::fault::{fault, no_node, refusal};
use super::super::node::{Node, find, find_to_change};
use super::super::page::cursor;
use super::super::pull::PullRequest;
use super::super::talk::{IssueComment, IssueCommentEdge};
use super::super::{GitObjectId, Session};
use crate::model::Role;
use crate::names;
use crate::pulls::{MergeOrder, Method};

#[derive(Debug, InputObject)]
pub(super) struct AddCommentInput {
    body: String,
    client_mutation_id: Option<String>,
    subject_id: ID,
}

#[derive(Debug, SimpleObject)]
pub(super) struct AddCommentPayload {
    client_mutation_id: Option<String>,
    comment_edge: Option<IssueCommentEdge>,
    subject: Option<Node>,
}

pub(super) async fn add(session: &Session, input: AddCommentInput) -> Result<AddCommentPayload> {
    let subject = find_to_change(session, &input.subject_id).await?;
    let (repository, issue) = match &subject {
        Node::PullRequest(found) => (found.repository.clone(), found.issue.clone()),
        Node::Issue(found) => (found.repository.clone(), found.issue.clone()),
        _ => return Err(no_node(&input.subject_id)),
    };
    let comment = session.hub.add_comment(&repository, &session.user, &issue, &input.body).await.map_err(refusal)?;
    let subject = find(session, &input.subject_id).await?;
    let edge = IssueCommentEdge { cursor: cursor(comment.id), node: Some(IssueComment { repository, comment }) };
    Ok(AddCommentPayload {
        client_mutation_id: input.client_mutation_id,
        comment_edge: Some(edge),
        subject: Some(subject),
    })
}

#[derive(Debug, InputObject)]
pub(super) struct UpdateIssueCommentInput {
    body: String,
    client_mutation_id: Option<String>,
    id: ID,
}

#[derive(Debug, SimpleObject)]
pub(super) struct UpdateIssueCommentPayload {
    client_mutation_id: Option<String>,
    issue_comment: Option<IssueComment>,
}

pub(super) async fn update(session: &Session, input: UpdateIssueCommentInput) -> Result<UpdateIssueCommentPayload> {
    let Node::IssueComment(IssueComment { repository, comment }) = find_to_change(session, &input.id).await? else {
        return Err(no_node(&input.id));
    };
    if comment.user.id != session.user.id {
        session.caller.require(&session.hub, &repository, Role::Write).await.map_err(refusal)?;
    }
    let edit = session.hub.edit_comment(&repository, &session.user, comment.id, &input.body);
    let comment = edit.await.map_err(refusal)?;
    Ok(UpdateIssueCommentPayload {
        client_mutation_id: input.client_mutation_id,
        issue_comment: Some(IssueComment { repository, comment }),
    })
}

#[derive(Debug, InputObject)]
pub(super) struct MergePullRequestInput {
    client_mutation_id: Option<String>,
    commit_body: Option<String>,
    commit_headline: Option<String>,
    expected_head_oid: Option<GitObjectId>,
    merge_method: Option<PullRequestMergeMethod>,
    pull_request_id: ID,
}

#[derive(Debug, SimpleObject)]
pub(super) struct MergePullRequestPayload {
    actor: Option<Actor>,
    client_mutation_id: Option<String>,
    pull_request: Option<PullRequest>,
}

pub(super) async fn merge(session: &Session, input: MergePullRequestInput) -> Result<MergePullRequestPayload> {
    let Node::PullRequest(found) = find_to_change(session, &input.pull_request_id).await? else {
        return Err(no_node(&input.pull_request_id));
    };
    let repository = found.repository;
    let user = session.caller.require(&session.hub, &repository, Role::Write).await.map_err(refusal)?;
    if input.expected_head_oid.as_ref().is_some_and(|oid| !names::is_sha(&oid.0)) {
        return Err(fault("UNPROCESSABLE", "expectedHeadOid is no commit"));
    }
    let order = MergeOrder {
        commit_title: input.commit_headline,
        commit_message: input.commit_body,
        sha: input.expected_head_oid.map(|oid| oid.0),
        merge_method: match input.merge_method {
            Some(PullRequestMergeMethod::Squash) => Method::Squash,
            Some(PullRequestMergeMethod::Rebase) => Method::Rebase,
            Some(PullRequestMergeMethod::Merge) | None => Method::Merge,
        },
    };
    session.hub.merge(&repository, &user, found.issue.number, order).await.map_err(refusal)?;
    let (issue, pull) = session.hub.pull(&repository, found.issue.number).await.map_err(refusal)?;
    Ok(MergePullRequestPayload {
        actor: Some(Actor::from(&user)),
        client_mutation_id: input.client_mutation_id,
        pull_request: Some(PullRequest { repository, issue, pull }),
    })
}
