//! The spans of a command. Their ids follow from the root's, so that a restart changes nothing.

use std::time::SystemTime;

use kfops_telemetry::{
    Kind, Span,
    metrics::{COMMANDS, STEPS},
};

use super::Driver;
use crate::{
    command::State,
    step::{Stage, StepState},
};

/// Key of a stage's span.
pub(super) fn key(stage: Stage) -> String {
    format!("step/{}", stage.as_str())
}

impl Driver {
    /// The root and the steps, once all their times are known.
    pub(super) fn record_spans(&self, now: SystemTime) {
        let command = &self.command;
        let tracer = &self.engine.tracer;
        for step in command.steps.iter().filter(|step| !step.part) {
            let Some(start) = step.start else { continue };
            let failed = (step.state == StepState::Failed).then(|| step.message.clone());
            let mut span = Span::child(&command.trace, &key(step.stage), &step.title, start, step.end.unwrap_or(now))
                .with("kfops.command.id", command.id.as_str())
                .with("kfops.step.message", step.message.as_str())
                .failed(failed);
            if !step.resource.is_empty() {
                span = span.with("kfops.resource", step.resource.as_str());
            }
            tracer.record(span);
            let took = step.end.unwrap_or(now).duration_since(start).unwrap_or_default();
            let state = match step.state {
                StepState::Succeeded => "succeeded",
                StepState::Skipped => "skipped",
                StepState::Canceled => "canceled",
                StepState::Failed => "failed",
                StepState::Pending | StepState::Running => "unfinished",
            };
            let stage = step.stage.as_str();
            metrics::histogram!(STEPS, "step" => stage, "state" => state).record(took);
        }
        let outcome = command.outcome.unwrap_or(command.state);
        let failure = command.failure.as_ref().filter(|_| outcome == State::Failed);
        let name = format!("command /{}", command.verb.as_str());
        let mut root = Span::root(command.trace, name, command.received, now)
            .with("kfops.command.id", command.id.as_str())
            .with("kfops.command.verb", command.verb.as_str())
            .with("kfops.command.state", outcome.as_str())
            .with("kfops.repository", command.repository.to_string())
            .with("kfops.pull_request", i64::try_from(command.pull_request).unwrap_or(i64::MAX))
            .with("kfops.commit", command.commit())
            .with("kfops.github_calls", i64::from(command.github_calls))
            .linked(command.links.iter().copied())
            .failed(failure.map(|failure| failure.message.clone()));
        if let Some(failure) = &command.failure {
            root = root.with("error.type", failure.reason.as_str());
        }
        tracer.record(root);
        let took = now.duration_since(command.received).unwrap_or_default();
        let (verb, state) = (command.verb.as_str(), outcome.as_str());
        metrics::histogram!(COMMANDS, "verb" => verb, "state" => state).record(took);
    }

    /// Adds the requests since the last time to the command, each with its span.
    pub(super) fn count(&mut self) {
        for call in self.meter.take() {
            let key = format!("github/{}", self.command.github_calls);
            self.command.github_calls += 1;
            let failed = (call.status == 0 || call.status >= 400).then(|| format!("status {}", call.status));
            let span = Span::child(&self.command.trace, &key, format!("GitHub {}", call.name), call.start, call.end)
                .kind(Kind::Client)
                .with("http.response.status_code", i64::from(call.status))
                .failed(failed);
            self.engine.tracer.record(span);
        }
    }
}
