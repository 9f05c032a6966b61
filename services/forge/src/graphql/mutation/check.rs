//! Check runs, written by Apps.

use async_graphql::{ID, InputObject, Result, SimpleObject};
use serde_json::{Map, Value, json};

use super::super::check::CheckRun;
use super::super::enums::{CheckAnnotationLevel, CheckConclusionState, RequestableCheckStatusState, to_rest};
use super::super::fault::{fault, no_node, refusal};
use super::super::node::{Node, find, repository};
use super::super::{DateTime, GitObjectId, Session, Uri};
use crate::api::checks;

#[derive(Debug, InputObject)]
pub(super) struct CreateCheckRunInput {
    actions: Option<Vec<CheckRunAction>>,
    client_mutation_id: Option<String>,
    completed_at: Option<DateTime>,
    conclusion: Option<CheckConclusionState>,
    details_url: Option<Uri>,
    external_id: Option<String>,
    head_sha: GitObjectId,
    name: String,
    output: Option<CheckRunOutput>,
    repository_id: ID,
    started_at: Option<DateTime>,
    status: Option<RequestableCheckStatusState>,
}

#[derive(Debug, InputObject)]
pub(super) struct UpdateCheckRunInput {
    actions: Option<Vec<CheckRunAction>>,
    check_run_id: ID,
    client_mutation_id: Option<String>,
    completed_at: Option<DateTime>,
    conclusion: Option<CheckConclusionState>,
    details_url: Option<Uri>,
    external_id: Option<String>,
    name: Option<String>,
    output: Option<CheckRunOutput>,
    repository_id: ID,
    started_at: Option<DateTime>,
    status: Option<RequestableCheckStatusState>,
}

#[derive(Debug, InputObject)]
struct CheckRunAction {
    description: String,
    identifier: String,
    label: String,
}

#[derive(Debug, InputObject)]
struct CheckRunOutput {
    annotations: Option<Vec<CheckAnnotationData>>,
    summary: String,
    text: Option<String>,
    title: String,
}

#[derive(Debug, InputObject)]
struct CheckAnnotationData {
    annotation_level: CheckAnnotationLevel,
    location: CheckAnnotationRange,
    message: String,
    path: String,
    raw_details: Option<String>,
    title: Option<String>,
}

#[derive(Debug, InputObject)]
struct CheckAnnotationRange {
    end_column: Option<i32>,
    end_line: i32,
    start_column: Option<i32>,
    start_line: i32,
}

#[derive(Debug, SimpleObject)]
pub(super) struct CreateCheckRunPayload {
    check_run: Option<CheckRun>,
    client_mutation_id: Option<String>,
}

#[derive(Debug, SimpleObject)]
pub(super) struct UpdateCheckRunPayload {
    check_run: Option<CheckRun>,
    client_mutation_id: Option<String>,
}

/// As REST writes it, without what was not sent.
fn annotation(one: CheckAnnotationData) -> Value {
    let mut value = json!({
        "path": one.path,
        "start_line": one.location.start_line,
        "end_line": one.location.end_line,
        "annotation_level": to_rest(one.annotation_level),
        "message": one.message,
    });
    let columns = [("start_column", one.location.start_column), ("end_column", one.location.end_column)];
    for (name, column) in columns {
        if let Some(column) = column {
            value[name] = column.into();
        }
    }
    for (name, text) in [("title", one.title), ("raw_details", one.raw_details)] {
        if let Some(text) = text {
            value[name] = text.into();
        }
    }
    value
}

impl CheckRunOutput {
    fn rest(self) -> Value {
        let annotations: Vec<Value> = self.annotations.unwrap_or_default().into_iter().map(annotation).collect();
        json!({ "title": self.title, "summary": self.summary, "text": self.text, "annotations": annotations })
    }
}

fn actions(actions: Option<Vec<CheckRunAction>>) -> Value {
    let rest = |one: CheckRunAction| json!({ "label": one.label, "description": one.description, "identifier": one.identifier });
    actions.map_or(Value::Null, |all| all.into_iter().map(rest).collect())
}

fn edit(fields: [(&str, Value); 10]) -> Result<checks::Edit> {
    let fields: Map<String, Value> = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    serde_json::from_value(Value::Object(fields)).map_err(|error| fault("UNPROCESSABLE", error.to_string()))
}

pub(super) async fn create(session: &Session, input: CreateCheckRunInput) -> Result<CreateCheckRunPayload> {
    let repository = repository(session, &input.repository_id).await?;
    let new = edit([
        ("name", input.name.into()),
        ("head_sha", input.head_sha.0.into()),
        ("external_id", input.external_id.into()),
        ("status", input.status.map(to_rest).into()),
        ("conclusion", input.conclusion.map(to_rest).into()),
        ("started_at", input.started_at.map(|time| time.0).into()),
        ("completed_at", input.completed_at.map(|time| time.0).into()),
        ("details_url", input.details_url.map(|url| url.0).into()),
        ("output", input.output.map(CheckRunOutput::rest).into()),
        ("actions", actions(input.actions)),
    ])?;
    let run = checks::make(&session.hub, &session.caller, &repository, new).await.map_err(refusal)?;
    Ok(CreateCheckRunPayload {
        check_run: Some(CheckRun { repository, run }),
        client_mutation_id: input.client_mutation_id,
    })
}

pub(super) async fn update(session: &Session, input: UpdateCheckRunInput) -> Result<UpdateCheckRunPayload> {
    let repository = repository(session, &input.repository_id).await?;
    let run = match find(session, &input.check_run_id).await? {
        Node::CheckRun(found) if found.repository.id == repository.id => found.run,
        _ => return Err(no_node(&input.check_run_id)),
    };
    let change = edit([
        ("name", input.name.into()),
        ("head_sha", Value::Null),
        ("external_id", input.external_id.into()),
        ("status", input.status.map(to_rest).into()),
        ("conclusion", input.conclusion.map(to_rest).into()),
        ("started_at", input.started_at.map(|time| time.0).into()),
        ("completed_at", input.completed_at.map(|time| time.0).into()),
        ("details_url", input.details_url.map(|url| url.0).into()),
        ("output", input.output.map(CheckRunOutput::rest).into()),
        ("actions", actions(input.actions)),
    ])?;
    let run = checks::change(&session.hub, &session.caller, &repository, run.id, change).await.map_err(refusal)?;
    Ok(UpdateCheckRunPayload {
        check_run: Some(CheckRun { repository, run }),
        client_mutation_id: input.client_mutation_id,
    })
}
