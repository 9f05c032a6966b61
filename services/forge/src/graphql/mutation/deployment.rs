//! Deployments and their statuses.

use async_graphql::{ID, InputObject, Result, SimpleObject};
use serde_json::{Map, Value, json};

use super::super::Session;
use super::super::deployment::{Deployment, DeploymentStatus};
use super::super::enums::{DeploymentStatusState, to_rest};
use super::super::fault::{fault, no_node, refusal};
use super::super::node::{Node, find, find_to_change, repository};
use crate::api::deployments;
use crate::model::Role;

/// A deployment is of a ref, wherever it points at that moment: GitHub has no way to name a commit here.
#[derive(Debug, InputObject)]
pub(super) struct CreateDeploymentInput {
    auto_merge: Option<bool>,
    client_mutation_id: Option<String>,
    description: Option<String>,
    environment: Option<String>,
    payload: Option<String>,
    ref_id: ID,
    repository_id: ID,
    required_contexts: Option<Vec<String>>,
    task: Option<String>,
}

#[derive(Debug, SimpleObject)]
pub(super) struct CreateDeploymentPayload {
    auto_merged: Option<bool>,
    client_mutation_id: Option<String>,
    deployment: Option<Deployment>,
}

#[derive(Debug, InputObject)]
pub(super) struct CreateDeploymentStatusInput {
    auto_inactive: Option<bool>,
    client_mutation_id: Option<String>,
    deployment_id: ID,
    description: Option<String>,
    environment: Option<String>,
    environment_url: Option<String>,
    log_url: Option<String>,
    state: DeploymentStatusState,
}

#[derive(Debug, SimpleObject)]
pub(super) struct CreateDeploymentStatusPayload {
    client_mutation_id: Option<String>,
    deployment_status: Option<DeploymentStatus>,
}

/// What REST would have been sent.
fn fields(value: Value) -> Map<String, Value> {
    let Value::Object(fields) = value else { return Map::new() };
    fields.into_iter().filter(|(_, value)| !value.is_null()).collect()
}

pub(super) async fn create(session: &Session, input: CreateDeploymentInput) -> Result<CreateDeploymentPayload> {
    let repository = repository(session, &input.repository_id).await?;
    let user = session.caller.require(&session.hub, &repository, Role::Write).await.map_err(refusal)?;
    let target = match find(session, &input.ref_id).await? {
        Node::Ref(found) if found.repository.id == repository.id => found,
        _ => return Err(no_node(&input.ref_id)),
    };
    let payload: Value = serde_json::from_str(input.payload.as_deref().unwrap_or("{}"))
        .map_err(|_| fault("UNPROCESSABLE", "payload is no JSON"))?;
    let name = target.full.trim_start_matches("refs/heads/").trim_start_matches("refs/tags/").to_owned();
    let fields = fields(json!({
        "ref": name,
        "environment": input.environment,
        "description": input.description.unwrap_or_default(),
        "payload": payload,
        "auto_merge": input.auto_merge.unwrap_or(true),
        "required_contexts": input.required_contexts,
        "task": input.task.unwrap_or_else(|| "deploy".to_owned()),
    }));
    let row = deployments::make(&session.hub, &repository, user, target.commit, fields).await.map_err(refusal)?;
    Ok(CreateDeploymentPayload {
        auto_merged: Some(false),
        client_mutation_id: input.client_mutation_id,
        deployment: Some(Deployment { repository, row }),
    })
}

pub(super) async fn create_status(
    session: &Session,
    input: CreateDeploymentStatusInput,
) -> Result<CreateDeploymentStatusPayload> {
    let Node::Deployment(Deployment { repository, row }) = find_to_change(session, &input.deployment_id).await? else {
        return Err(no_node(&input.deployment_id));
    };
    let user = session.caller.require(&session.hub, &repository, Role::Write).await.map_err(refusal)?;
    let fields = fields(json!({
        "state": to_rest(input.state),
        "auto_inactive": input.auto_inactive.unwrap_or(true),
        "description": input.description.unwrap_or_default(),
        "environment": input.environment,
        "environment_url": input.environment_url.unwrap_or_default(),
        "log_url": input.log_url.unwrap_or_default(),
    }));
    let row = deployments::make_status(&session.hub, &repository, user, row, fields).await.map_err(refusal)?;
    Ok(CreateDeploymentStatusPayload {
        client_mutation_id: input.client_mutation_id,
        deployment_status: Some(DeploymentStatus { repository, row }),
    })
}
