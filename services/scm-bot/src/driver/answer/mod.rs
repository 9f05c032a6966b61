//! The verbs that only read.

#[cfg(test)]
mod fakes;
mod plan;
mod status;
mod why;

use std::sync::Arc;

use kfops_core::Failure;
use kfops_project::{Environment, Project};

use super::{Done, Driver, target::service_of};
use crate::{
    command::Replaced,
    ports::{Lock, Revision},
    report::{self, Found, Held, Who},
    verb::Verb,
};

/// Both places, the one that matters most first.
const ENVIRONMENTS: [Environment; 2] = [Environment::Production, Environment::Staging];

impl Driver {
    pub(super) async fn answer(&mut self) -> Result<Done, Failure> {
        self.command.answer = match self.command.verb {
            Verb::Status => self.status().await?,
            Verb::Plan => self.plan().await?,
            Verb::Why => self.why().await?,
            _ => report::help(),
        };
        Ok(Done::Yes(String::new()))
    }

    /// Keeps what is live just before the rollout begins, for the comparison in the live comment. That it cannot be found
    /// out stops nobody.
    pub(in crate::driver) async fn note_replaced(&mut self) -> Result<(), Failure> {
        let lineage = &self.command.lineage;
        if lineage.replaced.is_some() || !lineage.revision.is_empty() {
            return Ok(());
        }
        let engine = Arc::clone(&self.engine);
        let target = self.target_name().await?;
        let live = match engine.workers.live(&target).await {
            Ok(live) => live,
            Err(failure) => {
                tracing::info!(command = self.command.id, %failure, "not compared with what is live");
                return Ok(());
            }
        };
        let mut replaced = Replaced::default();
        if let Some(live) = live {
            (replaced.revision, replaced.model) = (live.revision, live.model.digest);
            replaced.metrics = engine.workers.run(&live.run).await.map(|run| run.metrics).unwrap_or_default();
        }
        self.command.lineage.replaced = Some(replaced);
        engine.save(&mut self.command).await
    }

    /// The lock of an environment's target, as far as readers of this pull request may know who holds it.
    async fn held(&self, locks: &[Lock], environment: Environment, target: &str) -> Held {
        let lock = locks.iter().find(|lock| lock.target == target);
        let mut queue = Vec::new();
        for id in lock.map(|lock| lock.queue.as_slice()).unwrap_or_default() {
            queue.push(self.who(id).await);
        }
        let holder = match lock.and_then(|lock| lock.holder.as_deref()) {
            Some(id) => Some(self.who(id).await),
            None => None,
        };
        Held { environment: environment.as_str(), holder, since: lock.map(|lock| lock.since), queue }
    }

    async fn who(&self, id: &str) -> Who {
        let command = self.engine.ledger.get(id).await.ok();
        // What goes on in other repositories is not for everybody who reads this one.
        let own = command.filter(|command| command.repository == self.command.repository);
        Who { id: id.to_owned(), known: own.map(|command| (command.verb, command.actor, command.pull_request)) }
    }
}

/// The places of a project, by name.
fn targets(project: Option<&Project>) -> Vec<(Environment, String)> {
    let project = project.into_iter();
    let places = project.flat_map(|project| {
        ENVIRONMENTS.into_iter().filter_map(|environment| Some((environment, service_of(project, environment)?)))
    });
    places.collect()
}

/// The revision that gets most of the traffic.
fn live(revisions: &[Revision]) -> Option<&Revision> {
    // Of equals the first is the newest.
    let busy = revisions.iter().rev().filter(|revision| revision.percent > 0);
    busy.max_by_key(|revision| revision.percent)
}

/// One failure for several places.
fn same<T>(failure: &Failure) -> Found<T> {
    Err(failure.clone())
}
