//! What all commands share: the ports, who waits for whom, and who watches.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt as _};
use kfops_core::{Clock, Failure, Reason};
use kfops_rpc::Lifecycle;
use kfops_store::Store;
use kfops_telemetry::{Tracer, metrics::COMMANDS_OPEN};
use tokio::sync::{Notify, watch};

use crate::{
    command::Command,
    driver::Driver,
    duty::Duty,
    line::Line,
    manners::Manners,
    ports::{Delivery, Filter, GitHub, Ledger, Workers},
    push::Push,
    settings::Settings,
};

/// Between two looks for commands that nobody drives.
const SWEEP: Duration = Duration::from_secs(60);
/// The same when the last look failed.
const SOON: Duration = Duration::from_secs(2);
/// Open commands that are read at the same time.
const READ_AT_ONCE: usize = 16;
/// Most commands of a pull request that are looked at.
const HISTORY: usize = 1000;

/// What all commands share.
pub(crate) struct Engine {
    pub(crate) settings: Settings,
    pub(crate) ledger: Arc<dyn Ledger>,
    pub(crate) github: Arc<dyn GitHub>,
    pub(crate) workers: Arc<dyn Workers>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: Store,
    pub(crate) tracer: Tracer,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) turns: Line,
    /// Whom the bot answers.
    pub(crate) manners: Manners,
    /// Changes whenever the lock of a target may have been freed.
    pub(crate) freed: watch::Sender<()>,
    pub(crate) watchers: Mutex<HashMap<String, watch::Sender<Option<Command>>>>,
    /// The commands that are driven here.
    pub(crate) wishes: Mutex<HashMap<String, Driven>>,
    pub(crate) duty: Duty,
}

/// A command that is driven here.
#[derive(Default)]
pub(crate) struct Driven {
    /// Wakes its driver when somebody wrote a wish into its record.
    wish: Arc<Notify>,
    /// The newest version that the driver itself has written, or is about to.
    written: i64,
}

impl Engine {
    /// Drives a new command to its end, in a task of its own, unless somebody does already.
    pub(crate) fn admit(self: &Arc<Self>, command: Command) {
        if let Some(command) = self.duty.admit(command) {
            self.begin(command);
        }
    }

    fn begin(self: &Arc<Self>, command: Command) {
        if let Some(wish) = self.reserve(&command.id) {
            self.drive(command, wish);
        }
    }

    /// From now on nobody else drives this command.
    fn reserve(&self, id: &str) -> Option<Arc<Notify>> {
        let mut wishes = lock(&self.wishes);
        if wishes.contains_key(id) {
            return None;
        }
        let driven = Driven::default();
        let wish = Arc::clone(&driven.wish);
        wishes.insert(id.to_owned(), driven);
        gauge(&wishes);
        Some(wish)
    }

    fn drive(self: &Arc<Self>, command: Command, wish: Arc<Notify>) {
        // Places in the lines are taken here, in the order of the calls, not in that of the scheduler.
        let driver = Driver::new(Arc::clone(self), command, wish);
        self.lifecycle.spawn(driver.run());
    }

    /// From now on this process drives: first what has not ended, then what comes. Whether all of it could be read.
    pub(crate) async fn take_up(self: &Arc<Self>) -> Result<bool, Failure> {
        self.duty.begin();
        let whole = self.resume().await?;
        self.duty.go_on(|command| self.begin(command));
        Ok(whole)
    }

    /// Hears of what others write, until the service stops.
    pub(crate) fn listen(self: &Arc<Self>) {
        let Some(mut changes) = self.ledger.changes() else { return };
        let engine = Arc::clone(self);
        let stopping = self.lifecycle.stopping();
        self.lifecycle.spawn(async move {
            let listening = async {
                while let Some(command) = changes.next().await {
                    engine.hear(command);
                }
            };
            stopping.run_until_cancelled(listening).await;
        });
    }

    /// A command is like this by now.
    fn hear(self: &Arc<Self>, command: Command) {
        self.notify(&command);
        let driven = lock(&self.wishes).get(&command.id).map(|driven| (driven.written, Arc::clone(&driven.wish)));
        match driven {
            // What its driver wrote itself comes back.
            Some((written, _)) if command.version <= written => {}
            Some((_, wish)) => {
                wish.notify_one();
                if command.outcome.is_some() {
                    self.freed.send_replace(());
                }
            }
            None if command.state.ended() => {
                self.freed.send_replace(());
            }
            None => self.admit(command),
        }
    }

    /// Goes on with everything that has not ended; false: some of it cannot be read now.
    pub(crate) async fn resume(self: &Arc<Self>) -> Result<bool, Failure> {
        let ids = self.ledger.open_ids().await?;
        let reserved = ids.into_iter().filter_map(|id| self.reserve(&id).map(|wish| (id, wish)));
        // As it is now: who drove it a moment ago may have ended it. Several are read at once, and begun in their order.
        let mut read = futures::stream::iter(reserved)
            .map(|(id, wish)| async move { (self.ledger.get(&id).await, id, wish) })
            .buffered(READ_AT_ONCE);
        let mut whole = true;
        while let Some((command, id, wish)) = read.next().await {
            match command {
                Ok(command) if !command.state.ended() => {
                    tracing::info!(command = command.id, verb = command.verb.as_str(), "resumed");
                    self.drive(command, wish);
                }
                Ok(_) => self.dismiss(&id),
                // Its turn comes again; the others need not wait for it.
                Err(failure) => {
                    self.dismiss(&id);
                    whole = false;
                    tracing::warn!(command = id, %failure, "an open command cannot be read");
                }
            }
        }
        Ok(whole)
    }

    /// Goes on, now and then, with what is kept and driven by nobody: its webhook was stored, and whoever stored it did not
    /// hear of that. `whole`: all could be read the last time; if not, it is tried again soon.
    pub(crate) fn keep_driving(self: &Arc<Self>, mut whole: bool) {
        let engine = Arc::clone(self);
        self.lifecycle.spawn(async move {
            let stopping = engine.lifecycle.stopping();
            while tokio::time::timeout(if whole { SWEEP } else { SOON }, stopping.cancelled()).await.is_err() {
                whole = engine.resume().await.unwrap_or_else(|failure| {
                    tracing::warn!(%failure, "open commands cannot be looked through");
                    false
                });
            }
        });
    }

    /// Keeps the command as it is now and tells its watchers.
    pub(crate) async fn save(&self, command: &mut Command) -> Result<(), Failure> {
        loop {
            command.updated = self.clock.now();
            self.writes(&command.id, command.version + 1);
            if let Some(stored) = self.ledger.update(command.clone()).await? {
                *command = stored;
                self.notify(command);
                if command.outcome.is_some() {
                    self.freed.send_replace(());
                }
                return Ok(());
            }
            // The only other writers are `cancel` and `pushed`.
            let stored = self.ledger.get(&command.id).await?;
            if stored.state.ended() {
                return Err(Failure::internal(format!("commands/{} was ended by another process", command.id)));
            }
            command.take_wishes(&stored);
            command.version = stored.version;
        }
    }

    /// Asks that a command ends; `by` says who and how, for people. One that has ended stays as it is.
    pub(crate) async fn cancel(&self, id: &str, by: &str) -> Result<Command, Failure> {
        self.wish(id, |command| {
            let new = !command.cancel;
            if new {
                command.cancel = true;
                command.canceled_by = by.to_owned();
            }
            new
        })
        .await
    }

    /// Keeps a push with what it means for the commands of its pull request, and tells those. Whether it is new.
    pub(crate) async fn pushed(&self, delivery: Delivery, push: Push) -> Result<bool, Failure> {
        let Some(changed) = self.ledger.accept_push(delivery, push, self.clock.now()).await? else { return Ok(false) };
        for command in changed {
            self.notify(&command);
            self.wake(&command.id);
        }
        Ok(true)
    }

    /// Somebody wrote a wish into its record.
    fn wake(&self, id: &str) {
        if let Some(driven) = lock(&self.wishes).get(id) {
            driven.wish.notify_one();
        }
    }

    /// The driver of a command has read it in this version: whatever comes later is news.
    pub(crate) fn knows(&self, id: &str, version: i64) {
        if let Some(driven) = lock(&self.wishes).get_mut(id) {
            driven.written = version;
        }
    }

    /// The driver of a command writes this version of it, unless somebody else is quicker.
    pub(crate) fn writes(&self, id: &str, version: i64) {
        if let Some(driven) = lock(&self.wishes).get_mut(id) {
            driven.written = driven.written.max(version);
        }
    }

    /// Writes a wish into a command that has not ended, and wakes its driver.
    async fn wish(&self, id: &str, change: impl Fn(&mut Command) -> bool) -> Result<Command, Failure> {
        loop {
            let mut command = self.ledger.get(id).await?;
            if command.state.ended() || !change(&mut command) {
                return Ok(command);
            }
            command.updated = self.clock.now();
            if let Some(stored) = self.ledger.update(command).await? {
                self.notify(&stored);
                self.wake(id);
                return Ok(stored);
            }
        }
    }

    /// Whole snapshots, the newest at once; ends after the terminal one.
    pub(crate) async fn watch(&self, id: &str) -> Result<impl Stream<Item = Command> + Send + use<>, Failure> {
        let receiver = {
            let mut watchers = lock(&self.watchers);
            watchers.retain(|_, sender| sender.receiver_count() > 0);
            watchers.entry(id.to_owned()).or_insert_with(|| watch::channel(None).0).subscribe()
        };
        let first = self.ledger.get(id).await?;
        Ok(futures::stream::unfold((Some(first), receiver, 0), |(first, mut receiver, mut seen)| async move {
            if let Some(first) = first {
                seen = if first.state.ended() { i64::MAX } else { first.version };
                return Some((first, (None, receiver, seen)));
            }
            while seen < i64::MAX {
                receiver.changed().await.ok()?;
                let next = receiver.borrow_and_update().clone();
                if let Some(next) = next.filter(|next| next.version > seen) {
                    seen = if next.state.ended() { i64::MAX } else { next.version };
                    return Some((next, (None, receiver, seen)));
                }
            }
            None
        })
        .boxed())
    }

    fn notify(&self, command: &Command) {
        let mut watchers = lock(&self.watchers);
        if let Some(sender) = watchers.get(&command.id) {
            sender.send_if_modified(|shown| {
                let newer = shown.as_ref().is_none_or(|shown| shown.version < command.version);
                if newer {
                    *shown = Some(command.clone());
                }
                newer
            });
        }
        if command.state.ended() {
            watchers.remove(&command.id);
        }
    }

    /// Forgets what only an open command needs.
    pub(crate) fn dismiss(&self, id: &str) {
        let mut wishes = lock(&self.wishes);
        wishes.remove(id);
        gauge(&wishes);
    }

    /// The other commands of a pull request, newest first.
    pub(crate) async fn history(&self, command: &Command) -> Result<Vec<Command>, Failure> {
        let filter = Filter { repository: Some(command.repository.clone()), pull_request: Some(command.pull_request) };
        let mut all = Vec::new();
        let mut token = String::new();
        while all.len() < HISTORY {
            let page = self.ledger.list(filter.clone(), 200, &token).await?;
            all.extend(page.commands.into_iter().filter(|other| other.id != command.id));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        Ok(all)
    }
}

/// A failure that passes by itself.
pub(crate) fn passing(failure: &Failure) -> bool {
    matches!(
        failure.reason,
        Reason::GithubUnavailable
            | Reason::WorkerUnavailable
            | Reason::StoreUnavailable
            | Reason::ClusterUnavailable
            | Reason::DeadlineExceeded
    ) || (failure.reason == Reason::SourceUnavailable && failure.retryable)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn gauge(driven: &HashMap<String, Driven>) {
    metrics::gauge!(COMMANDS_OPEN).set(u32::try_from(driven.len()).unwrap_or(u32::MAX));
}
