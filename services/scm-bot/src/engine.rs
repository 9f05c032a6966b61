//! What all commands share: the ports, who waits for whom, and who watches.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use futures::{Stream, StreamExt as _};
use kfops_core::{Clock, Failure, Reason};
use kfops_project::Project;
use kfops_rpc::Lifecycle;
use kfops_store::Store;
use kfops_telemetry::Tracer;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    command::{Command, Repository},
    driver::Driver,
    line::Line,
    ports::{Filter, GitHub, Ledger, Workers},
    settings::Settings,
};

/// How long the base branch's kfops.yaml is remembered.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Most commands of a pull request that are looked at.
const HISTORY: usize = 1000;

/// What the base branches' files said, and when.
type Bases = HashMap<(Repository, String), (SystemTime, Option<Project>)>;

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
    pub(crate) targets: Line,
    pub(crate) watchers: Mutex<HashMap<String, watch::Sender<Option<Command>>>>,
    pub(crate) cancels: Mutex<HashMap<String, CancellationToken>>,
    pub(crate) bases: Mutex<Bases>,
}

impl Engine {
    /// Drives a command to its end, in a task of its own.
    pub(crate) fn admit(self: &Arc<Self>, command: Command) {
        let cancel = CancellationToken::new();
        lock(&self.cancels).insert(command.id.clone(), cancel.clone());
        // Places in the lines are taken here, in the order of the calls, not in that of the scheduler.
        let driver = Driver::new(Arc::clone(self), command, cancel);
        self.lifecycle.spawn(driver.run());
    }

    /// Goes on with everything that has not ended.
    pub(crate) async fn resume(self: &Arc<Self>) -> Result<(), Failure> {
        let mut open = self.ledger.open().await?;
        // Who was changing what is live gets its lock back before anyone else asks for it.
        open.sort_by_key(|command| (command.target.is_none(), command.seq));
        for command in open {
            tracing::info!(command = command.id, verb = command.verb.as_str(), "resumed");
            self.admit(command);
        }
        Ok(())
    }

    /// Keeps the command as it is now and tells its watchers.
    pub(crate) async fn save(&self, command: &mut Command) -> Result<(), Failure> {
        loop {
            command.updated = self.clock.now();
            if let Some(stored) = self.ledger.update(command.clone()).await? {
                *command = stored;
                self.notify(command);
                return Ok(());
            }
            // The only other writer is `cancel`.
            let stored = self.ledger.get(&command.id).await?;
            if stored.state.ended() {
                return Err(Failure::internal(format!("commands/{} was ended by another process", command.id)));
            }
            command.cancel |= stored.cancel;
            command.version = stored.version;
        }
    }

    /// Asks that a command ends. One that has ended stays as it is.
    pub(crate) async fn cancel(&self, id: &str) -> Result<Command, Failure> {
        loop {
            let mut command = self.ledger.get(id).await?;
            if command.state.ended() || command.cancel {
                return Ok(command);
            }
            command.cancel = true;
            command.updated = self.clock.now();
            if let Some(stored) = self.ledger.update(command).await? {
                self.notify(&stored);
                if let Some(token) = lock(&self.cancels).get(id) {
                    token.cancel();
                }
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
        lock(&self.cancels).remove(id);
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

    /// The base branch's project, if it was read a moment ago.
    pub(crate) fn remembered(&self, key: &(Repository, String)) -> Option<Option<Project>> {
        let now = self.clock.now();
        let bases = lock(&self.bases);
        let (read, project) = bases.get(key)?;
        now.duration_since(*read).is_ok_and(|age| age < REMEMBERED).then(|| project.clone())
    }

    /// Remembers the base branch's project.
    pub(crate) fn remember(&self, key: (Repository, String), project: Option<Project>) {
        let now = self.clock.now();
        let mut bases = lock(&self.bases);
        bases.retain(|_, (read, _)| now.duration_since(*read).is_ok_and(|age| age < REMEMBERED));
        bases.insert(key, (now, project));
    }

    /// A merge changes the base branch.
    pub(crate) fn forget(&self, repository: &Repository) {
        lock(&self.bases).retain(|(known, _), _| known != repository);
    }
}

/// A failure that passes by itself.
pub(crate) fn passing(failure: &Failure) -> bool {
    matches!(
        failure.reason,
        Reason::GithubUnavailable | Reason::WorkerUnavailable | Reason::StoreUnavailable | Reason::DeadlineExceeded
    )
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
