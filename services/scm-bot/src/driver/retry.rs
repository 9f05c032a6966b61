//! `/retry`: takes up the last command that did not succeed. What it did stays done; the rest is done under new ids.

use std::sync::Arc;

use kfops_core::{Failure, Reason};

use super::Driver;
use crate::{
    command::{Command, State},
    gate::short,
    step::{Stage, StepState},
    verb::Verb,
};

impl Driver {
    /// Becomes the command that is taken up again.
    pub(super) async fn take_up(&mut self, said: &mut Vec<String>) -> Result<Result<(), Failure>, Failure> {
        let engine = Arc::clone(&self.engine);
        let history = engine.history(&self.command).await?;
        let named = self.command.options().command;
        let mut before = history
            .into_iter()
            .filter(|other| other.seq < self.command.seq && other.verb.takes_turns() && other.verb != Verb::Retry);
        let found = match &named {
            Some(id) => before.find(|other| other.id == *id),
            None => before.next(),
        };
        let Some(other) = found else {
            let what = named.map_or("there is no command to retry in this pull request".to_owned(), |id| {
                format!("commands/{id} is not one of this pull request that can be retried")
            });
            return Ok(Err(Failure::new(Reason::NotFound, what).action("/status shows its commands")));
        };
        if let Err(failure) = may(&self.command, &other) {
            return Ok(Err(failure));
        }
        said.push(format!("takes up {}", other.id));
        self.command.adopt(&other);
        Ok(Ok(()))
    }

    /// A rollout that an earlier command did: what went live then is live still. Otherwise the merge and the label would
    /// speak of a model that nobody meets.
    pub(super) async fn lives_on(&mut self) -> Result<Result<(), Failure>, Failure> {
        let target = self.target_name().await?;
        let live = self.engine.workers.live(&target).await?;
        let (now, then) = (live.map(|live| live.revision), &self.command.lineage.revision);
        if now.as_ref() == Some(then) {
            return Ok(Ok(()));
        }
        let verb = match self.command.verb {
            // The run is done, and need not be done again.
            Verb::Ship => Verb::Deploy,
            verb => verb,
        };
        let now = now.unwrap_or_else(|| "nothing".to_owned());
        Ok(Err(Failure::new(
            Reason::PolicyRefused,
            format!("{now} is live by now, and no longer {then}, whose deployment this would end"),
        )
        .on(target)
        .action(format!("look at it with /why; to bring this model live anew, /{} again", verb.as_str()))))
    }
}

/// Whether a command can be taken up.
fn may(command: &Command, other: &Command) -> Result<(), Failure> {
    let name = format!("commands/{}", other.id);
    let verb = other.verb.as_str();
    let wrong = |reason: Reason, what: String, action: String| Err(Failure::new(reason, what).on(&name).action(action));
    match other.outcome {
        Some(State::Failed | State::Canceled) => {}
        Some(State::Succeeded) => {
            return wrong(
                Reason::NotFound,
                format!("/{verb} ({}) succeeded", other.id),
                format!("to do it anew, write /{verb}"),
            );
        }
        Some(state) => {
            let what = format!("/{verb} ({}) was {}, and did nothing that could be taken up", other.id, state.as_str());
            return wrong(Reason::NotFound, what, format!("write /{verb} again"));
        }
        None => {
            let what = format!("/{verb} ({}) is under way", other.id);
            return wrong(Reason::AlreadyExists, what, "wait for its end, or /cancel it".to_owned());
        }
    }
    if other.verb.uses_code() && other.commit() != command.commit() {
        let what = format!(
            "/{verb} ({}) was about {}, and the head is {} now",
            other.id,
            short(other.commit()),
            short(command.commit())
        );
        return wrong(Reason::RunOfOtherCommit, what, format!("write /{verb} for the new commit"));
    }
    Ok(())
}

impl Command {
    /// Takes over verb, arguments and everything that is done, except what time makes stale: the gate.
    fn adopt(&mut self, other: &Self) {
        self.retry_of = Some(other.id.clone());
        self.verb = other.verb;
        self.arguments.clone_from(&other.arguments);
        self.lineage.clone_from(&other.lineage);
        if !self.links.contains(&other.trace) {
            self.links.push(other.trace);
        }
        let done = |stage: Stage| other.progress(stage).done();
        let kept = |stage: Stage| !matches!(stage, Stage::Gate | Stage::Recheck | Stage::Source) && done(stage);
        for step in other.steps.iter().filter(|step| kept(step.stage)) {
            if !self.steps.iter().any(|own| own.stage == step.stage && own.part == step.part && own.title == step.title)
            {
                let message = if step.part { step.message.clone() } else { format!("done before · {}", step.message) };
                self.steps.push(crate::step::Step { message, start: None, end: None, ..step.clone() });
            }
        }
        if !done(Stage::Rollout) {
            for field in [
                &mut self.lineage.revision,
                &mut self.lineage.previous_revision,
                &mut self.lineage.endpoint,
                &mut self.lineage.merge_commit,
            ] {
                field.clear();
            }
        }
        debug_assert!(self.progress(Stage::Gate) != StepState::Succeeded);
    }
}
