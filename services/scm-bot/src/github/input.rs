//! What is written, as GraphQL's mutations take it.

use serde_json::{Value, json};

use super::wire::{body, line, shortened};
use crate::ports::{Annotation, Button, CheckRun, Deployment, DeploymentState};

/// Most annotations of a request.
const ANNOTATIONS: usize = 50;
/// Most buttons of a check run.
const BUTTONS: usize = 3;

/// A check run as GitHub takes it.
pub(super) fn check_input(check: &CheckRun) -> Value {
    let mut output = json!({"title": shortened(&check.title, 250), "summary": body(&check.summary)});
    let mut input = json!({
        "name": check.name,
        "externalId": check.external_id,
        "status": "IN_PROGRESS",
        "startedAt": humantime::format_rfc3339_seconds(check.started).to_string(),
        "actions": check.buttons.iter().take(BUTTONS).map(|button| action(*button)).collect::<Vec<_>>(),
    });
    if let Some((conclusion, at)) = check.completed {
        input["status"] = "COMPLETED".into();
        input["conclusion"] = conclusion.to_ascii_uppercase().into();
        input["completedAt"] = humantime::format_rfc3339_seconds(at).to_string().into();
        // Those of an update are added to those that are there: they are sent once, at the end.
        output["annotations"] = check.annotations.iter().take(ANNOTATIONS).map(annotation).collect();
    }
    input["output"] = output;
    if let Some(url) = &check.details_url {
        input["detailsUrl"] = url.as_str().into();
    }
    input
}

fn annotation(annotation: &Annotation) -> Value {
    let mut location = json!({"startLine": annotation.line.max(1), "endLine": annotation.line.max(1)});
    if let Some(column) = annotation.column {
        location["startColumn"] = column.into();
        location["endColumn"] = column.into();
    }
    json!({
        "path": annotation.path,
        "location": location,
        "annotationLevel": if annotation.warning { "WARNING" } else { "FAILURE" },
        "message": shortened(&annotation.message, 16_000),
    })
}

/// Label, description and identifier have at most 20, 40 and 20 characters.
fn action(button: Button) -> Value {
    let (label, description) = match button {
        Button::Retry => ("Retry", "Does again what failed"),
        Button::Cancel => ("Cancel", "Ends what is under way"),
    };
    json!({"label": label, "description": description, "identifier": button.identifier()})
}

/// The newest status of a deployment.
pub(super) fn status_input(id: &str, record: &Deployment) -> Value {
    let mut input = json!({
        "deploymentId": id,
        "state": match record.state {
            DeploymentState::InProgress => "IN_PROGRESS",
            DeploymentState::Success => "SUCCESS",
            DeploymentState::Failure => "FAILURE",
            DeploymentState::Error => "ERROR",
        },
        "description": line(&record.description),
    });
    for (name, url) in [("environmentUrl", &record.environment_url), ("logUrl", &record.log_url)] {
        if let Some(url) = url {
            input[name] = url.as_str().into();
        }
    }
    input
}
