//! The check run.

use std::time::SystemTime;

use super::{comment::comment, words::duration};
use crate::{
    command::{Command, State},
    ports::CheckRun,
};

/// The check run as it should stand now.
#[must_use]
pub fn check_run(command: &Command, now: SystemTime, public_url: Option<&str>) -> CheckRun {
    let conclusion = command.outcome.map(|outcome| match outcome {
        State::Succeeded => "success",
        State::Canceled => "cancelled",
        State::Refused => "neutral",
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
        details_url: public_url.map(|url| format!("{}/traces/{}", url.trim_end_matches('/'), command.trace.trace_id)),
    }
}
