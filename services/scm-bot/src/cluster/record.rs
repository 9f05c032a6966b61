//! Commands as objects. The spec says what was received; the status has the whole record, once anything has changed.

use std::time::UNIX_EPOCH;

use kfops_core::{Failure, Reason, TraceContext, short_hash};
use kube::{ResourceExt as _, api::ObjectMeta};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    resources::{CommandObject, CommandSpec, CommandStatus, OriginSpec},
    times::{read, text},
};
use crate::{
    command::{Command, Origin, Repository, State},
    ports::brought_live,
    step::StepState,
    verb::Verb,
};

/// Which repository a command is of: a hash, for names hold what labels may not.
pub(super) const REPOSITORY: &str = "kfops.dev/repository";
/// Number of the pull request.
pub(super) const PULL_REQUEST: &str = "kfops.dev/pull-request";
/// `spec.seq`, for those who read metadata alone.
pub(super) const SEQ: &str = "kfops.dev/seq";
/// Largest record, bytes: etcd takes 1.5 MB, and an object is written many times.
const LARGEST: usize = 512 * 1024;
/// Longest answer that is kept, bytes: GitHub takes no longer one.
const ANSWER: usize = 64 * 1024;
/// Most annotations that are kept: as many as GitHub takes at once.
const ANNOTATIONS: usize = 50;
/// Longest message for people beside the record, characters.
const MESSAGE: usize = 1000;

/// A command as it is kept.
pub(super) struct Kept {
    pub(super) command: Command,
    /// As it was received.
    pub(super) asked: Option<Command>,
    pub(super) resource_version: String,
    pub(super) term: i64,
    /// False: it is shown as failed, with what can be read of it.
    pub(super) readable: bool,
}

/// Repositories that differ in case only are the same.
pub(super) fn repository_label(repository: &Repository) -> String {
    short_hash(&[&repository.to_string().to_ascii_lowercase()], 40)
}

/// A new object for a command; what its spec cannot say is lost.
pub(super) fn object(command: &Command) -> CommandObject {
    let mut object = CommandObject::new(&command.id, spec(command));
    object.metadata = ObjectMeta {
        name: Some(command.id.clone()),
        labels: Some(
            [
                (REPOSITORY.to_owned(), repository_label(&command.repository)),
                (PULL_REQUEST.to_owned(), command.pull_request.to_string()),
            ]
            .into(),
        ),
        annotations: Some([(SEQ.to_owned(), command.seq.to_string())].into()),
        ..ObjectMeta::default()
    };
    object
}

fn spec(command: &Command) -> CommandSpec {
    let number = |number: u64| Some(i64::try_from(number).unwrap_or(i64::MAX));
    let origin = match &command.origin {
        Origin::Comment { delivery, comment, index } => OriginSpec {
            delivery: Some(delivery.clone()),
            comment: number(*comment),
            index: i64::try_from(*index).ok(),
            check: None,
        },
        Origin::Button { delivery, check } => {
            OriginSpec { delivery: Some(delivery.clone()), check: number(*check), ..OriginSpec::default() }
        }
        Origin::Api => OriginSpec::default(),
    };
    CommandSpec {
        seq: command.seq,
        verb: command.verb.as_str().to_owned(),
        arguments: command.arguments.clone(),
        unreadable: command.unreadable.as_ref().and_then(translated),
        repository: command.repository.to_string(),
        pull_request: i64::try_from(command.pull_request).unwrap_or(i64::MAX),
        actor: command.actor.clone(),
        origin,
        received: text(command.received),
        written: command.written.map(text),
        trace: command.trace.to_string(),
        links: command.links.iter().map(ToString::to_string).collect(),
        quiet: command.quiet,
        superseded_by: command.superseded_by.clone(),
    }
}

/// The command as it was received, in its first version.
pub(super) fn received(id: &str, spec: &CommandSpec) -> Result<Command, String> {
    let wrong = |what: &str| format!("its {what} cannot be read");
    let number = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
    let origin = &spec.origin;
    let origin = match (&origin.delivery, number(origin.comment), number(origin.check)) {
        (Some(delivery), Some(comment), _) => Origin::Comment {
            delivery: delivery.clone(),
            comment,
            index: origin.index.and_then(|index| usize::try_from(index).ok()).unwrap_or_default(),
        },
        (Some(delivery), None, Some(check)) => Origin::Button { delivery: delivery.clone(), check },
        _ => Origin::Api,
    };
    let trace = |text: &String| TraceContext::parse(text).map_err(|_| wrong("trace"));
    let mut command = Command::new(
        id.to_owned(),
        Verb::parse(&spec.verb).ok_or_else(|| wrong("verb"))?,
        (Repository::parse(&spec.repository)?, u64::try_from(spec.pull_request).map_err(|_| wrong("pullRequest"))?),
        spec.actor.clone(),
        origin,
        trace(&spec.trace)?,
        read(&spec.received).ok_or_else(|| wrong("received"))?,
    );
    command.seq = spec.seq;
    command.version = 1;
    command.arguments.clone_from(&spec.arguments);
    command.unreadable = spec.unreadable.as_ref().and_then(translated);
    command.written = spec.written.as_deref().and_then(read);
    command.links = spec.links.iter().map(trace).collect::<Result<_, _>>()?;
    command.quiet = spec.quiet;
    command.superseded_by.clone_from(&spec.superseded_by);
    Ok(command)
}

/// The status of a command in a version and a term.
pub(super) fn status(command: &Command, term: i64) -> Result<CommandStatus, Failure> {
    let Ok(Value::Object(mut record)) = serde_json::to_value(command) else {
        return Err(Failure::internal(format!("the record of commands/{} cannot be written", command.id)));
    };
    if serde_json::to_vec(&record).map_err(Failure::internal)?.len() > LARGEST {
        let mut smaller = command.clone();
        smaller.annotations.truncate(ANNOTATIONS);
        let end = (0..=ANSWER.min(smaller.answer.len())).rev().find(|at| smaller.answer.is_char_boundary(*at));
        smaller.answer.truncate(end.unwrap_or_default());
        let Ok(Value::Object(less)) = serde_json::to_value(&smaller) else { return Err(too_large(command)) };
        if serde_json::to_vec(&less).map_err(Failure::internal)?.len() > LARGEST {
            return Err(too_large(command));
        }
        record = less;
    }
    let (live, revision) = brought_live(command).unzip();
    let running = command.steps.iter().find(|step| !step.part && step.state == StepState::Running);
    Ok(CommandStatus {
        version: command.version,
        term,
        state: command.state.as_str().to_owned(),
        ended: command.state.ended(),
        outcome: command.outcome.map(|outcome| outcome.as_str().to_owned()),
        step: running.map(|step| step.title.clone()),
        commit: Some(command.commit().to_owned()).filter(|commit| !commit.is_empty()),
        reason: command.failure.as_ref().map(|failure| failure.reason.to_string()),
        message: command.failure.as_ref().map(|failure| failure.message.chars().take(MESSAGE).collect()),
        live: live.map(str::to_owned),
        revision: revision.map(str::to_owned),
        start_time: command.started.map(text),
        end_time: command.ended.map(text),
        update_time: Some(text(command.updated)),
        record,
    })
}

fn too_large(command: &Command) -> Failure {
    let name = format!("commands/{}", command.id);
    let kib = LARGEST / 1024;
    Failure::new(Reason::ResourceExhausted, format!("the record of {name} would be larger than {kib} KiB"))
        .on(name)
        .action("write a command with fewer arguments, or with fewer images and canary steps in kfops.yaml")
}

/// A command out of its object. One that cannot be read is shown as failed: the others must not suffer for it.
pub(super) fn kept(object: CommandObject) -> Kept {
    let resource_version = object.resource_version().unwrap_or_default();
    let id = object.name_any();
    let first = received(&id, &object.spec);
    let (term, version) = object.status.as_ref().map_or((0, 1), |status| (status.term, status.version));
    let read = match object.status {
        None => first.clone(),
        Some(status) => serde_json::from_value::<Command>(Value::Object(status.record))
            .map_err(|error| error.to_string())
            .map(|command| Command { id: id.clone(), seq: object.spec.seq, version, ..command }),
    };
    match read {
        Ok(command) => Kept { command, asked: first.ok(), resource_version, term, readable: true },
        Err(error) => {
            tracing::error!(command = id, error, "a stored command cannot be read; it is left alone");
            let command = Command { version, ..unreadable(id, &object.spec, first.clone().ok(), &error) };
            Kept { command, asked: first.ok(), resource_version, term, readable: false }
        }
    }
}

fn unreadable(id: String, spec: &CommandSpec, first: Option<Command>, error: &str) -> Command {
    let name = format!("commands/{id}");
    let failure = Failure::new(Reason::Internal, format!("the record of {name} cannot be read: {error}"))
        .on(name)
        .action("if a newer scm-bot wrote it, run that one; else write the command again");
    let unknown = || Repository { owner: "unknown".into(), name: "unknown".into() };
    let first = first.unwrap_or_else(|| {
        Command::new(
            id,
            Verb::parse(&spec.verb).unwrap_or(Verb::Help),
            (
                Repository::parse(&spec.repository).unwrap_or_else(|_| unknown()),
                u64::try_from(spec.pull_request).unwrap_or_default(),
            ),
            spec.actor.clone(),
            Origin::Api,
            TraceContext::parse(&spec.trace).unwrap_or_else(|_| TraceContext::from_random([1; 24])),
            read(&spec.received).unwrap_or(UNIX_EPOCH),
        )
    });
    Command { seq: spec.seq, state: State::Failed, outcome: Some(State::Failed), failure: Some(failure), ..first }
}

/// Between types with the same fields.
fn translated<T: DeserializeOwned>(value: &impl Serialize) -> Option<T> {
    serde_json::from_value(serde_json::to_value(value).ok()?).ok()
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
