//! The port to the ledger.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use kfops_core::{Failure, Reason};
use kfops_scm_bot::{
    command::{Command, Repository},
    ports::{
        Accepted, Claim, CommandPage, Compacted, Created, DEPLOYED_KEPT, Delivery, Filter, Ledger, Lock, brought_live,
        settled,
    },
    push::Push,
};

use super::{
    State, World,
    gate::{Planted, Port},
    time::BEGIN,
};

/// What is remembered.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) commands: BTreeMap<String, Command>,
    /// GUIDs, and when they were received.
    pub(crate) deliveries: BTreeMap<String, SystemTime>,
    /// Every lock that was ever given.
    pub(crate) locks: BTreeMap<String, Lock>,
    /// What a later update of a record unsaid.
    pub(crate) unsaid: Vec<String>,
    /// The newest push of each pull request that is known.
    pushes: BTreeMap<u64, (String, SystemTime)>,
    /// When each delivery was taken, by GUID.
    pub(crate) heard: BTreeMap<String, Duration>,
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
        self.deliveries.contains_key(delivery)
    }

    /// In the order in which they came.
    pub(crate) fn ordered(&self) -> Vec<&Command> {
        let mut all: Vec<&Command> = self.commands.values().collect();
        all.sort_by_key(|command| command.seq);
        all
    }

    fn accept(&mut self, delivery: Delivery, commands: Vec<Command>) -> Accepted {
        if self.knows(&delivery.id) {
            return Accepted::Duplicate;
        }
        self.deliveries.insert(delivery.id, delivery.received);
        let none = commands.is_empty();
        let compared = commands.into_iter().map(|mut command| {
            if let Some((head, at)) = self.pushes.get(&command.pull_request) {
                command.written_before(head, *at);
            }
            command
        });
        let compared: Vec<Command> = compared.collect();
        let new: Vec<Command> = compared.into_iter().filter_map(|command| self.insert(command)).collect();
        if new.is_empty() && !none { Accepted::Duplicate } else { Accepted::New(new) }
    }

    fn accept_push(&mut self, delivery: Delivery, push: &Push, now: SystemTime) -> Option<Vec<Command>> {
        let heard = delivery.received;
        if self.knows(&delivery.id) {
            return None;
        }
        self.deliveries.insert(delivery.id, heard);
        let known = self.pushes.entry(push.pull_request).or_insert_with(|| (push.head.clone(), push.at));
        if push.follows(&known.0, known.1) {
            *known = (push.head.clone(), push.at);
        }
        let newest = known.0.clone();
        let here = self.open().filter(|command| command.pull_request == push.pull_request);
        let mut changed: Vec<Command> = here.cloned().collect();
        changed.retain_mut(|command| command.overtaken(push, &newest, heard));
        let stored = changed.into_iter().filter_map(|command| self.update(Command { updated: now, ..command }));
        Some(stored.collect())
    }

    /// As if nobody knew when a push was made: it is about what has not begun yet, whatever that means.
    fn accept_push_by_arrival(&mut self, delivery: Delivery, push: &Push) -> Option<Vec<Command>> {
        let heard = delivery.received;
        if self.knows(&delivery.id) {
            return None;
        }
        self.deliveries.insert(delivery.id, heard);
        let overtaken = |command: &&Command| {
            let other = command.pull.as_ref().is_some_and(|pull| pull.head != push.head);
            command.pull_request == push.pull_request
                && other
                && command.received <= heard
                && command.verb.uses_code()
                && !command.begun()
                && command.superseded_by.is_none()
        };
        let overtaken: Vec<Command> = self.open().filter(overtaken).cloned().collect();
        let by = |command| Command { superseded_by: Some(push.head.clone()), ..command };
        Some(overtaken.into_iter().filter_map(|command| self.update(by(command))).collect())
    }

    fn claim(&mut self, target: &str, id: &str, now: SystemTime) -> Result<Claim, Failure> {
        if settled(self.find(id)?) {
            let name = format!("commands/{id}");
            return Err(Failure::new(Reason::InvalidArgument, format!("{name} has its outcome already")).on(name));
        }
        let lock = self.locks.entry(target.to_owned()).or_insert_with(|| Lock {
            target: target.to_owned(),
            holder: None,
            fence: 0,
            since: now,
            queue: Vec::new(),
        });
        if lock.holder.as_deref() == Some(id) {
            return Ok(Claim::Held(lock.fence));
        }
        if !lock.queue.iter().any(|waiting| waiting == id) {
            lock.queue.push(id.to_owned());
        }
        if lock.holder.is_none() && lock.queue[0] == id {
            lock.queue.remove(0);
            // In the simulated world's own time fences count from 1, so that two lives can be compared.
            let age = now.duration_since(SystemTime::UNIX_EPOCH).ok().filter(|age| *age < BEGIN);
            let least = age.and_then(|age| u64::try_from(age.as_millis()).ok()).unwrap_or_default();
            let fence = least.max(lock.fence + 1);
            (lock.holder, lock.fence, lock.since) = (Some(id.to_owned()), fence, now);
            return Ok(Claim::Held(lock.fence));
        }
        let place = lock.queue.iter().position(|waiting| waiting == id).unwrap_or_default();
        // While nobody holds it, the first in line is the one that is waited for.
        Ok(match &lock.holder {
            Some(holder) => Claim::Waiting { holder: holder.clone(), ahead: place },
            None => Claim::Waiting { holder: lock.queue[0].clone(), ahead: place.saturating_sub(1) },
        })
    }

    fn update(&mut self, mut command: Command) -> Option<Command> {
        let kept = self.commands.get_mut(&command.id)?;
        if kept.version != command.version {
            return None;
        }
        command.version += 1;
        self.unsaid.extend(unsaid(kept, &command).map(|what| format!("{}: {what}", command.id)));
        let seq = kept.seq;
        kept.clone_from(&command);
        kept.seq = seq;
        if settled(&command) {
            for lock in self.locks.values_mut() {
                lock.queue.retain(|waiting| *waiting != command.id);
                if lock.holder.as_ref() == Some(&command.id) {
                    (lock.holder, lock.since) = (None, command.updated);
                }
            }
        }
        Some(command)
    }

    /// As if nobody had changed it meanwhile.
    fn overwrite(&mut self, mut command: Command) -> Option<Command> {
        command.version = self.commands.get(&command.id)?.version;
        self.update(command)
    }

    fn open(&self) -> impl Iterator<Item = &Command> {
        self.ordered().into_iter().filter(|command| !command.state.ended())
    }

    /// Those that a page may show, newest first.
    fn before(&self, before: i64, filter: &Filter) -> impl Iterator<Item = &Command> {
        self.ordered()
            .into_iter()
            .rev()
            .filter(move |command| command.seq < before)
            .filter(|command| filter.repository.as_ref().is_none_or(|only| *only == command.repository))
            .filter(|command| filter.pull_request.is_none_or(|only| only == command.pull_request))
    }

    fn compact(&mut self, deliveries: SystemTime, commands: SystemTime) -> Compacted {
        let before = (self.deliveries.len(), self.commands.len());
        self.deliveries.retain(|_, received| seconds(*received) >= seconds(deliveries));
        self.pushes.retain(|_, (_, at)| *at >= deliveries);
        let mut deployed: HashMap<String, u16> = HashMap::new();
        let mut gone = Vec::new();
        for command in self.ordered().into_iter().rev() {
            let kept = brought_live(command).is_some_and(|(target, _)| {
                let newer = deployed.entry(target.to_owned()).or_default();
                *newer += 1;
                *newer <= DEPLOYED_KEPT
            });
            let old = seconds(command.ended.unwrap_or(command.updated)) < seconds(commands);
            if command.state.ended() && old && !kept {
                gone.push(command.id.clone());
            }
        }
        for id in gone {
            self.commands.remove(&id);
        }
        Compacted { deliveries: before.0 - self.deliveries.len(), commands: before.1 - self.commands.len() }
    }
}

/// What stands for ever once it is written, and an update leaves out.
fn unsaid(before: &Command, after: &Command) -> impl Iterator<Item = String> {
    let facts = [
        ("that it is to end", before.cancel && !after.cancel),
        ("that it is superseded", before.superseded_by.is_some() && after.superseded_by.is_none()),
        ("its outcome", before.outcome.is_some() && after.outcome != before.outcome),
        ("its end", before.state.ended() && after.state != before.state),
        ("its pull request", before.pull.is_some() && after.pull.is_none()),
        ("its comment", before.posted.comment_intended && !after.posted.comment_intended),
    ];
    let done = before.steps.iter().filter(|step| !step.part && step.state.done());
    let steps =
        done.filter(|step| !after.progress(step.stage).done()).map(|step| format!("that {} is done", step.title));
    let facts = facts.into_iter().filter(|(_, gone)| *gone).map(|(what, _)| what.to_owned());
    facts.chain(steps).collect::<Vec<_>>().into_iter()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn wrong(field: &str) -> Failure {
    Failure::new(Reason::InvalidArgument, format!("{field} is wrong")).on(field)
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
        let (id, world) = (delivery.id.clone(), Arc::clone(&self.0));
        self.ask("accept", true, move |state| {
            state.book.heard.entry(id).or_insert_with(|| world.time.passed());
            Ok(state.book.accept(delivery, commands))
        })
        .await
    }

    async fn accept_push(
        &self,
        delivery: Delivery,
        push: Push,
        now: SystemTime,
    ) -> Result<Option<Vec<Command>>, Failure> {
        let (id, world) = (delivery.id.clone(), Arc::clone(&self.0));
        let by_arrival = self.0.gate().planted == Some(Planted::PushesByArrival);
        self.ask("accept_push", true, move |state| {
            let book = &mut state.book;
            book.heard.entry(id).or_insert_with(|| world.time.passed());
            Ok(if by_arrival {
                book.accept_push_by_arrival(delivery, &push)
            } else {
                book.accept_push(delivery, &push, now)
            })
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
        let before = if page_token.is_empty() { Ok(i64::MAX) } else { page_token.parse() };
        let before = before.map_err(|_| wrong("page_token"))?;
        let size = match usize::try_from(page_size).map_err(|_| wrong("page_size"))? {
            0 => 50,
            size => size.min(1000),
        };
        self.ask("list", false, move |state| {
            let mut commands: Vec<Command> = state.book.before(before, &filter).take(size + 1).cloned().collect();
            let more = commands.len() > size;
            commands.truncate(size);
            let next = commands.last().filter(|_| more).map(|command| command.seq.to_string());
            Ok(CommandPage { commands, next_page_token: next.unwrap_or_default() })
        })
        .await
    }

    async fn open(&self) -> Result<Vec<Command>, Failure> {
        self.ask("open", false, |state| Ok(state.book.open().cloned().collect())).await
    }

    async fn open_ids(&self) -> Result<Vec<String>, Failure> {
        self.ask("open_ids", false, |state| Ok(state.book.open().map(|command| command.id.clone()).collect())).await
    }

    async fn open_of(&self, repository: &Repository, pull_request: u64) -> Result<Vec<Command>, Failure> {
        let repository = repository.clone();
        self.ask("open_of", false, move |state| {
            let here = |command: &&Command| command.repository == repository && command.pull_request == pull_request;
            Ok(state.book.open().filter(here).cloned().collect())
        })
        .await
    }

    async fn update(&self, command: Command) -> Result<Option<Command>, Failure> {
        let blind = self.0.gate().planted == Some(Planted::UpdatesBlindly);
        let update = if blind { Book::overwrite } else { Book::update };
        self.ask("update", true, move |state| Ok(update(&mut state.book, command))).await
    }

    async fn born(&self) -> Result<SystemTime, Failure> {
        self.ask("born", false, |_| Ok(SystemTime::UNIX_EPOCH)).await
    }

    async fn missing(&self, deliveries: &[String]) -> Result<Vec<String>, Failure> {
        let asked = deliveries.to_vec();
        self.ask("missing", false, move |state| Ok(asked.into_iter().filter(|id| !state.book.knows(id)).collect()))
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
            let live = |command: &&&Command| brought_live(command) == Some((target.as_str(), revision.as_str()));
            Ok(state.book.ordered().iter().rev().find(live).map(|command| (*command).clone()))
        })
        .await
    }

    async fn deployer(&self, target: &str) -> Result<Option<Command>, Failure> {
        let target = target.to_owned();
        self.ask("deployer", false, move |state| {
            let live = |command: &&&Command| brought_live(command).is_some_and(|(on, _)| on == target);
            Ok(state.book.ordered().iter().rev().find(live).map(|command| (*command).clone()))
        })
        .await
    }

    async fn compact(&self, deliveries: SystemTime, commands: SystemTime) -> Result<Compacted, Failure> {
        self.ask("compact", true, move |state| Ok(state.book.compact(deliveries, commands))).await
    }
}
