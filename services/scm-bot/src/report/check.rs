//! The check run.

use std::time::SystemTime;

use kfops_project::Environment;

use super::{
    comment::{comment, model_url},
    words::duration,
};
use crate::{
    command::{Command, State},
    ports::{Button, CheckRun, Deployment, DeploymentState},
};

/// What can be done about it now.
fn buttons(command: &Command) -> Vec<Button> {
    match command.outcome {
        None => vec![Button::Cancel],
        Some(State::Failed | State::Canceled) => vec![Button::Retry],
        Some(_) => Vec::new(),
    }
}

/// The deployment as it should stand now.
#[must_use]
pub fn deployment(command: &Command, state: DeploymentState, public_url: Option<&str>) -> Deployment {
    let environment = command.verb.environment();
    let revision = &command.lineage.revision;
    let commit = command.lineage.source.as_ref().map_or_else(|| command.commit(), |source| &source.commit);
    Deployment {
        command: command.id.clone(),
        commit: commit.to_owned(),
        environment: environment.map_or_else(String::new, |environment| environment.as_str().to_owned()),
        production: environment == Some(Environment::Production),
        state,
        description: match (state, command.failure.as_ref()) {
            (DeploymentState::Success, _) if command.lineage.restored.is_some() => {
                let from = command.lineage.restored.as_ref().map_or("", |restored| &restored.revision);
                format!("{revision} is live with the model of {from}")
            }
            (DeploymentState::Success, _) => format!("{revision} is live"),
            (DeploymentState::InProgress, _) => format!("/{} is under way", command.verb.as_str()),
            (_, Some(failure)) => failure.message.chars().filter(|c| !c.is_control()).take(130).collect(),
            (_, None) => "not live".to_owned(),
        },
        environment_url: Some(model_url(&command.lineage.endpoint).to_owned())
            .filter(|endpoint| state == DeploymentState::Success && endpoint.starts_with("http")),
        log_url: public_url.map(|url| format!("{}/traces/{}", url.trim_end_matches('/'), command.trace.trace_id)),
    }
}

/// The check run as it should stand now.
#[must_use]
pub fn check_run(command: &Command, now: SystemTime, public_url: Option<&str>) -> CheckRun {
    let conclusion = command.outcome.map(|outcome| match outcome {
        State::Succeeded => "success",
        // Not `skipped` and not `neutral`: where a check is required, GitHub takes these for a success.
        State::Canceled | State::Superseded => "cancelled",
        State::Refused => "action_required",
        _ => "failure",
    });
    let time = duration(now.duration_since(command.received).unwrap_or_default());
    let title = match (command.outcome, &command.failure) {
        (Some(State::Succeeded), _) => format!("done in {time}"),
        (Some(_), Some(failure)) => failure.message.chars().filter(|c| !c.is_control()).take(200).collect(),
        (Some(outcome), None) => outcome.as_str().to_owned(),
        (None, _) => "running".to_owned(),
    };
    CheckRun {
        name: format!("kfops/{}", command.verb.as_str()),
        external_id: command.id.clone(),
        commit: command.commit().to_owned(),
        started: command.received,
        completed: conclusion.map(|conclusion| (conclusion, now)),
        title,
        summary: comment(command, now, public_url),
        annotations: command.annotations.clone(),
        buttons: buttons(command),
        details_url: public_url.map(|url| format!("{}/traces/{}", url.trim_end_matches('/'), command.trace.trace_id)),
    }
}
