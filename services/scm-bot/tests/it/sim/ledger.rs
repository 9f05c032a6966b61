//! The port to the ledger.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

use async_trait::async_trait;
use kfops_core::{Failure, Reason};
use kfops_scm_bot::{
    command::Command,
    ports::{Accepted, Claim, CommandPage, Compacted, Created, Delivery, Filter, Ledger, Lock},
    step::{Stage, StepState},
};

use super::{
    State, World,
    gate::{Planted, Port},
};

/// What is remembered.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) commands: BTreeMap<String, Command>,
    pub(crate) deliveries: BTreeSet<String>,
    pub(crate) locks: BTreeMap<String, Lock>,
    received: BTreeMap<String, SystemTime>,
    seq: i64,
}

impl Book {
    fn insert(&mut self, mut command: Command) -> Option<Command> {
        if self.commands.contains_key(&command.id) {
            return None;
        }
        self.seq += 1;
        (command.seq, command.version) = (self.seq, 1);
        self.commands.insert(command.id.clone(), command.clone());
        Some(command)
    }

    fn find(&self, id: &str) -> Result<&Command, Failure> {
        let name = format!("commands/{id}");
        self.commands.get(id).ok_or_else(|| Failure::new(Reason::NotFound, format!("no {name}")).on(name))
    }

    pub(crate) fn knows(&self, delivery: &str) -> bool {
        self.deliveries.contains(delivery)
    }

    /// In the order in which they came.
    pub(crate) fn ordered(&self) -> Vec<&Command> {
        let mut all: Vec<&Command> = self.commands.values().collect();
        all.sort_by_key(|command| command.seq);
        all
    }

    fn claim(&mut self, target: &str, id: &str, now: SystemTime) -> Result<Claim, Failure> {
        let over = self.find(id)?.outcome.is_some();
        let lock = self.locks.entry(target.to_owned()).or_insert_with(|| Lock {
            target: target.to_owned(),
            holder: None,
            fence: 0,
            since: now,
            queue: Vec::new(),
        });
        if over {
            return Err(Failure::new(Reason::InvalidArgument, format!("commands/{id} has an outcome")));
        }
        if lock.holder.as_deref() == Some(id) {
            return Ok(Claim::Held(lock.fence));
        }
        if !lock.queue.iter().any(|waiting| waiting == id) {
            lock.queue.push(id.to_owned());
        }
        if lock.holder.is_none() && lock.queue[0] == id {
            lock.queue.remove(0);
            (lock.holder, lock.fence, lock.since) = (Some(id.to_owned()), lock.fence + 1, now);
            return Ok(Claim::Held(lock.fence));
        }
        let ahead = lock.queue.iter().position(|waiting| waiting == id).unwrap_or_default();
        let holder = lock.holder.clone().unwrap_or_else(|| lock.queue[0].clone());
        Ok(Claim::Waiting { holder, ahead })
    }

    fn update(&mut self, mut command: Command) -> Option<Command> {
        let kept = self.commands.get_mut(&command.id)?;
        if kept.version != command.version {
            return None;
        }
        command.version += 1;
        kept.clone_from(&command);
        if command.outcome.is_some() {
            for lock in self.locks.values_mut() {
                lock.queue.retain(|waiting| *waiting != command.id);
                if lock.holder.as_ref() == Some(&command.id) {
                    (lock.holder, lock.since) = (None, command.updated);
                }
            }
        }
        Some(command)
    }
}

pub(crate) struct SimLedger(pub(crate) Arc<World>);

impl SimLedger {
    async fn ask<T>(
        &self,
        name: &'static str,
        writes: bool,
        effect: impl FnOnce(&mut State) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.0.call(Port::Ledger, name, writes, |state, _| effect(state)).await
    }
}

#[async_trait]
impl Ledger for SimLedger {
    async fn accept(&self, delivery: Delivery, commands: Vec<Command>) -> Result<Accepted, Failure> {
        self.ask("accept", true, move |state| {
            let book = &mut state.book;
            if !book.deliveries.insert(delivery.id.clone()) {
                return Ok(Accepted::Duplicate);
            }
            book.received.insert(delivery.id, delivery.received);
            let none = commands.is_empty();
            let new: Vec<Command> = commands.into_iter().filter_map(|command| book.insert(command)).collect();
            Ok(if new.is_empty() && !none { Accepted::Duplicate } else { Accepted::New(new) })
        })
        .await
    }

    async fn create(&self, command: Command) -> Result<Created, Failure> {
        self.ask("create", true, move |state| {
            if let Some(new) = state.book.insert(command.clone()) {
                return Ok(Created::New(new));
            }
            let existing = state.book.find(&command.id)?;
            if existing.same_request(&command) {
                return Ok(Created::Existing(existing.clone()));
            }
            Err(Failure::new(Reason::AlreadyExists, "it exists and asks for something else"))
        })
        .await
    }

    async fn get(&self, id: &str) -> Result<Command, Failure> {
        let id = id.to_owned();
        self.ask("get", false, move |state| state.book.find(&id).cloned()).await
    }

    async fn list(&self, filter: Filter, page_size: i32, page_token: &str) -> Result<CommandPage, Failure> {
        let before = page_token.parse().unwrap_or(i64::MAX);
        let size = if page_size == 0 { 50 } else { usize::try_from(page_size).unwrap_or(50) };
        self.ask("list", false, move |state| {
            let mut commands: Vec<Command> = state
                .book
                .ordered()
                .into_iter()
                .rev()
                .filter(|command| command.seq < before)
                .filter(|command| filter.repository.as_ref().is_none_or(|only| *only == command.repository))
                .filter(|command| filter.pull_request.is_none_or(|only| only == command.pull_request))
                .take(size + 1)
                .cloned()
                .collect();
            let more = commands.len() > size;
            commands.truncate(size);
            let next = commands.last().filter(|_| more).map(|command| command.seq.to_string());
            Ok(CommandPage { commands, next_page_token: next.unwrap_or_default() })
        })
        .await
    }

    async fn open(&self) -> Result<Vec<Command>, Failure> {
        self.ask("open", false, |state| {
            let open = state.book.ordered().into_iter().filter(|command| !command.state.ended());
            Ok(open.cloned().collect())
        })
        .await
    }

    async fn update(&self, command: Command) -> Result<Option<Command>, Failure> {
        self.ask("update", true, move |state| Ok(state.book.update(command))).await
    }

    async fn born(&self) -> Result<SystemTime, Failure> {
        self.ask("born", false, |_| Ok(SystemTime::UNIX_EPOCH)).await
    }

    async fn missing(&self, deliveries: &[String]) -> Result<Vec<String>, Failure> {
        let asked = deliveries.to_vec();
        self.ask("missing", false, move |state| {
            Ok(asked.into_iter().filter(|id| !state.book.deliveries.contains(id)).collect())
        })
        .await
    }

    async fn claim(&self, target: &str, command: &str, now: SystemTime) -> Result<Claim, Failure> {
        let (target, command) = (target.to_owned(), command.to_owned());
        let everybody = self.0.gate().planted == Some(Planted::AlwaysHeld);
        self.ask("claim", true, move |state| match state.book.claim(&target, &command, now)? {
            Claim::Waiting { .. } if everybody => Ok(Claim::Held(state.book.locks[&target].fence)),
            claim => Ok(claim),
        })
        .await
    }

    async fn seize(&self, target: &str, holder: &str, now: SystemTime) -> Result<bool, Failure> {
        let (target, holder) = (target.to_owned(), holder.to_owned());
        self.ask("seize", true, move |state| {
            let lock = state.book.locks.get_mut(&target).filter(|lock| lock.holder.as_ref() == Some(&holder));
            Ok(lock.map(|lock| (lock.holder, lock.since) = (None, now)).is_some())
        })
        .await
    }

    async fn locks(&self) -> Result<Vec<Lock>, Failure> {
        self.ask("locks", false, |state| Ok(state.book.locks.values().cloned().collect())).await
    }

    async fn deployed(&self, target: &str, revision: &str) -> Result<Option<Command>, Failure> {
        let (target, revision) = (target.to_owned(), revision.to_owned());
        self.ask("deployed", false, move |state| {
            let live = |command: &&&Command| {
                command.target.as_ref() == Some(&target)
                    && command.lineage.revision == revision
                    && command.progress(Stage::Rollout) == StepState::Succeeded
            };
            Ok(state.book.ordered().iter().rev().find(live).map(|command| (*command).clone()))
        })
        .await
    }

    async fn compact(&self, deliveries: SystemTime, commands: SystemTime) -> Result<Compacted, Failure> {
        self.ask("compact", true, move |state| {
            let book = &mut state.book;
            let old: Vec<String> =
                book.received.iter().filter(|(_, at)| **at < deliveries).map(|(id, _)| id.clone()).collect();
            for id in &old {
                book.received.remove(id);
                book.deliveries.remove(id);
            }
            let before = book.commands.len();
            // Coarser than the port asks: whoever deployed is kept for ever.
            book.commands
                .retain(|_, command| command.target.is_some() || command.ended.is_none_or(|ended| ended >= commands));
            Ok(Compacted { deliveries: old.len(), commands: before - book.commands.len() })
        })
        .await
    }
}
