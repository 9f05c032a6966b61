//! The verbs that act on other commands: `/cancel`, `/promote`, `/unlock`. Whom they act on is recorded before they do,
//! so that a second try acts on nobody else.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use kfops_core::{Failure, Reason};
use kfops_project::Environment;

use super::{Done, Driver, target::service_of};
use crate::{
    command::{Command, Origin, State},
    engine::Engine,
    gate::count,
    report,
    step::{Stage, StepState},
    verb::Verb,
};

/// How long the answer waits for those it ended.
const WATCHED: Duration = Duration::from_secs(60);

impl Driver {
    /// Finds the commands to act on, unless an earlier try did.
    pub(super) async fn choose_commands(&mut self) -> Result<Result<(), Failure>, Failure> {
        if !self.command.acts_on.is_empty() {
            return Ok(Ok(()));
        }
        let chosen = match self.command.verb {
            Verb::Unlock => self.holder().await?,
            Verb::Promote => self.canaries().await?,
            _ => self.open_here().await?,
        };
        Ok(chosen.map(|ids| self.command.acts_on = ids))
    }

    /// Whether somebody who calls the API may end a command: what the gate would say to their `/cancel`.
    pub(crate) async fn may_cancel(engine: &Arc<Engine>, command: &Command, actor: String) -> Result<(), Failure> {
        let on = (command.repository.clone(), command.pull_request);
        let now = engine.clock.now();
        let id = format!("cancel-{}", command.id);
        let mut asked = Command::new(id, Verb::Cancel, on, actor, Origin::Api, command.trace, now);
        asked.acts_on = vec![command.id.clone()];
        match Self::new(Arc::clone(engine), asked, Arc::default()).gate().await? {
            Done::No(failure) => Err(failure),
            _ => Ok(()),
        }
    }

    /// Whether the actor wrote all of them.
    pub(super) async fn all_own(&self) -> Result<bool, Failure> {
        if self.command.acts_on.is_empty() {
            return Ok(false);
        }
        for id in &self.command.acts_on {
            let other = self.engine.ledger.get(id).await?;
            if !other.actor.eq_ignore_ascii_case(&self.command.actor) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) async fn act(&mut self) -> Result<Done, Failure> {
        let engine = Arc::clone(&self.engine);
        let by = match self.command.origin {
            Origin::Button { .. } => format!("@{} pressed Cancel", self.command.actor),
            _ => format!("@{} wrote /{}", self.command.actor, self.command.verb.as_str()),
        };
        let mut others = Vec::new();
        let mut freed = false;
        for id in self.command.acts_on.clone() {
            let other = engine.ledger.get(&id).await?;
            match self.command.verb {
                Verb::Promote => engine.workers.promote(&other.resource(Stage::Rollout)).await?,
                verb => {
                    // The wish comes first: who is restarted in between must not ask for the lock anew.
                    let told = engine.cancel(&id, &by).await?;
                    // Not what its record says: that may be one that cannot be read.
                    let target = self.command.target.as_ref().or(other.target.as_ref());
                    if let Some(target) = target.filter(|_| verb == Verb::Unlock) {
                        let seized = engine.ledger.seize(target, &id, engine.clock.now()).await?;
                        engine.freed.send_replace(());
                        // Who hears the wish first lets go by itself, and so did whom an earlier try told.
                        freed |= seized || told.canceled_by == by;
                    }
                }
            }
            others.push(other);
        }
        if self.command.verb != Verb::Promote {
            others = self.ended(others).await?;
        }
        self.command.answer = report::acted(&self.command, &others, freed);
        Ok(Done::Yes(count(others.len() as u64, "command")))
    }

    /// The others, once they have ended, or after a while as they are.
    async fn ended(&self, others: Vec<Command>) -> Result<Vec<Command>, Failure> {
        let stopping = self.engine.lifecycle.stopping();
        let late = tokio::time::sleep(WATCHED);
        tokio::pin!(late);
        let mut seen = Vec::new();
        for mut other in others {
            let mut snapshots = Box::pin(self.engine.watch(&other.id).await?);
            loop {
                tokio::select! {
                    biased;
                    snapshot = snapshots.next() => match snapshot {
                        // What comes after the outcome is the last word on GitHub.
                        Some(snapshot) => {
                            other = snapshot;
                            if other.outcome.is_some() {
                                break;
                            }
                        }
                        None => break,
                    },
                    () = &mut late => break,
                    () = stopping.cancelled() => break,
                }
            }
            seen.push(other);
        }
        Ok(seen)
    }

    /// `/cancel`: what is under way in this pull request, or the one that was named.
    async fn open_here(&self) -> Result<Result<Vec<String>, Failure>, Failure> {
        let mut open = self.others_open().await?;
        open.retain(|other| other.verb.takes_turns() && other.seq < self.command.seq);
        if let Some(named) = self.command.options().command {
            open.retain(|other| other.id == named);
            if open.is_empty() {
                let name = format!("commands/{named}");
                return Ok(Err(Failure::new(
                    Reason::NotFound,
                    format!("{name} is not under way in this pull request"),
                )
                .on(name)
                .action("/status shows what is")));
            }
        }
        if open.is_empty() {
            return Ok(Err(Failure::new(Reason::NotFound, "nothing is under way in this pull request").action(
                "/status shows its commands; one that deploys elsewhere is canceled in its own pull request",
            )));
        }
        Ok(Ok(open.into_iter().map(|other| other.id).collect()))
    }

    /// `/promote`: the deployment of this pull request that is under way.
    async fn canaries(&self) -> Result<Result<Vec<String>, Failure>, Failure> {
        let mut open = self.others_open().await?;
        open.retain(|other| other.verb.environment().is_some() && other.progress(Stage::Rollout) == StepState::Running);
        if open.is_empty() {
            return Ok(Err(Failure::new(Reason::NotFound, "no deployment of this pull request is under way")
                .action("/deploy, or /ship, begins one")));
        }
        Ok(Ok(open.into_iter().map(|other| other.id).collect()))
    }

    /// `/unlock`: who holds the lock.
    async fn holder(&mut self) -> Result<Result<Vec<String>, Failure>, Failure> {
        let environment = self.command.options().environment.unwrap_or(Environment::Production);
        let project = match self.base() {
            Ok(project) => project,
            Err(failure) => return Ok(Err(failure)),
        };
        let Some(target) = project.as_ref().and_then(|project| service_of(project, environment)) else {
            return Ok(Err(Failure::new(
                Reason::ConfigInvalid,
                format!("kfops.yaml of the default branch has no {} to deploy to", environment.as_str()),
            )));
        };
        let locks = self.engine.ledger.locks().await?;
        let lock = locks.into_iter().find(|lock| lock.target == target);
        self.command.target = Some(target.clone());
        Ok(match lock.and_then(|lock| lock.holder) {
            Some(holder) => self.may_unlock(&target, &holder).await?.map(|()| vec![holder]),
            None => Err(Failure::new(Reason::NotFound, format!("nobody holds the lock of {}", environment.as_str()))
                .on(target)
                .action("there is nothing to take; /status shows the locks")),
        })
    }

    async fn others_open(&self) -> Result<Vec<Command>, Failure> {
        let mut open = self.engine.ledger.open_of(&self.command.repository, self.command.pull_request).await?;
        open.retain(|other| {
            other.id != self.command.id
                && !matches!(other.outcome, Some(State::Succeeded | State::Failed | State::Refused))
        });
        Ok(open)
    }
}
