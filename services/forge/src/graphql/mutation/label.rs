//! Labels, made, put on and taken off.

use async_graphql::{ID, InputObject, Result, SimpleObject};
use serde_json::json;

use super::super::Session;
use super::super::fault::{no_node, refusal};
use super::super::issue::{Labelable, labelable};
use super::super::node::{Node, find, find_to_change, repository};
use super::super::talk::Label;
use crate::api::labels;
use crate::error::Error;
use crate::model::{Issue, Repository, Role};
use crate::talk::Relabel;

#[derive(Debug, InputObject)]
pub(super) struct AddLabelsToLabelableInput {
    client_mutation_id: Option<String>,
    label_ids: Vec<ID>,
    labelable_id: ID,
}

#[derive(Debug, SimpleObject)]
pub(super) struct AddLabelsToLabelablePayload {
    client_mutation_id: Option<String>,
    labelable: Option<Labelable>,
}

#[derive(Debug, InputObject)]
pub(super) struct RemoveLabelsFromLabelableInput {
    client_mutation_id: Option<String>,
    label_ids: Vec<ID>,
    labelable_id: ID,
}

#[derive(Debug, SimpleObject)]
pub(super) struct RemoveLabelsFromLabelablePayload {
    client_mutation_id: Option<String>,
    labelable: Option<Labelable>,
}

/// The issue of one id and the names of the labels of others, all of one repository.
async fn subject(session: &Session, id: &ID, labels: &[ID]) -> Result<(Repository, Issue, Vec<String>)> {
    let (repository, issue) = match find_to_change(session, id).await? {
        Node::PullRequest(found) => (found.repository, found.issue),
        Node::Issue(found) => (found.repository, found.issue),
        _ => return Err(no_node(id)),
    };
    session.caller.require(&session.hub, &repository, Role::Triage).await.map_err(refusal)?;
    let mut names = Vec::with_capacity(labels.len());
    for id in labels {
        match find(session, id).await? {
            Node::Label(found) if found.repository.id == repository.id => names.push(found.label.name),
            _ => return Err(no_node(id)),
        }
    }
    Ok((repository, issue, names))
}

async fn reread(session: &Session, repository: Repository, number: i64) -> Result<Option<Labelable>> {
    let issue = session.hub.issue(&repository, number).await.map_err(refusal)?;
    Ok(Some(labelable(repository, issue)))
}

pub(super) async fn add(session: &Session, input: AddLabelsToLabelableInput) -> Result<AddLabelsToLabelablePayload> {
    let (repository, issue, names) = subject(session, &input.labelable_id, &input.label_ids).await?;
    session.hub.relabel(&repository, &session.user, &issue, Relabel::Add(names)).await.map_err(refusal)?;
    let labelable = reread(session, repository, issue.number).await?;
    Ok(AddLabelsToLabelablePayload { client_mutation_id: input.client_mutation_id, labelable })
}

pub(super) async fn remove(
    session: &Session,
    input: RemoveLabelsFromLabelableInput,
) -> Result<RemoveLabelsFromLabelablePayload> {
    let (repository, issue, names) = subject(session, &input.labelable_id, &input.label_ids).await?;
    for name in names {
        match session.hub.relabel(&repository, &session.user, &issue, Relabel::Remove(name)).await {
            // One that is not there is taken off already.
            Ok(_) | Err(Error::NotFound) => {}
            Err(error) => return Err(refusal(error)),
        }
    }
    let labelable = reread(session, repository, issue.number).await?;
    Ok(RemoveLabelsFromLabelablePayload { client_mutation_id: input.client_mutation_id, labelable })
}

#[derive(Debug, InputObject)]
pub(super) struct CreateLabelInput {
    client_mutation_id: Option<String>,
    color: String,
    description: Option<String>,
    name: String,
    repository_id: ID,
}

#[derive(Debug, SimpleObject)]
pub(super) struct CreateLabelPayload {
    client_mutation_id: Option<String>,
    label: Option<Label>,
}

pub(super) async fn create(session: &Session, input: CreateLabelInput) -> Result<CreateLabelPayload> {
    let repository = repository(session, &input.repository_id).await?;
    session.caller.require(&session.hub, &repository, Role::Write).await.map_err(refusal)?;
    let fields = json!({ "name": input.name, "color": input.color, "description": input.description });
    let fields: labels::Fields = serde_json::from_value(fields)?;
    let label = labels::make(&session.hub, &repository, fields).await.map_err(refusal)?;
    Ok(CreateLabelPayload { client_mutation_id: input.client_mutation_id, label: Some(Label { repository, label }) })
}
