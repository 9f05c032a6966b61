//! The verbs that only read.

mod plan;
mod status;
mod why;

use kfops_core::Failure;
use kfops_project::{Environment, Project};

use super::{Done, Driver, target::service_of};
use crate::{
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
