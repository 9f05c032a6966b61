//! One thread writes: changes that arrive together share a transaction, and with it the cost of making it durable.

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    thread::JoinHandle,
};

use kfops_core::{Failure, Reason};
use rusqlite::Connection;
use tokio::sync::oneshot;

/// Most changes in one transaction.
const BATCH: usize = 256;

type Answer = Box<dyn FnOnce(Result<(), Failure>) + Send>;
type Change = Box<dyn FnOnce(&Connection) -> Answer + Send>;

enum Task {
    /// Part of a transaction.
    Change(Change),
    /// What cannot be part of one.
    Alone(Change),
}

/// Hands changes to the writing thread. It has ended, and the database is closed, once this is dropped.
pub(super) struct Writer {
    tasks: Option<Sender<Task>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(connection: Connection) -> Result<Self, Failure> {
        let (tasks, incoming) = channel();
        let thread = std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || write(&connection, &incoming))
            .map_err(|error| Failure::new(Reason::StoreUnavailable, format!("ledger: {error}")))?;
        Ok(Self { tasks: Some(tasks), thread: Some(thread) })
    }

    /// Makes a change; returns once it is durable. A failed change leaves no trace and does not harm its neighbours.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.hand(Task::Change, |connection| isolated(connection, work)).await
    }

    /// Does what a transaction does not allow.
    pub(super) async fn alone<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.hand(Task::Alone, work).await
    }

    async fn hand<T: Send + 'static>(
        &self,
        task: impl FnOnce(Change) -> Task,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (answer, answered) = oneshot::channel();
        let change: Change = Box::new(move |connection| {
            let result = work(connection);
            Box::new(move |committed: Result<(), Failure>| {
                answer.send(result.and_then(|value| committed.map(|()| value))).ok();
            })
        });
        let gone = || Failure::new(Reason::StoreUnavailable, "the ledger is closed");
        let tasks = self.tasks.as_ref().ok_or_else(gone)?;
        tasks.send(task(change)).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.tasks.take();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn isolated<T>(connection: &Connection, work: impl FnOnce(&Connection) -> Result<T, Failure>) -> Result<T, Failure> {
    if connection.is_autocommit() {
        // The transaction could not be begun: what would be made now would be durable and called a failure.
        return Err(Failure::new(Reason::StoreUnavailable, "the ledger could not begin a transaction"));
    }
    run(connection, "SAVEPOINT change")?;
    let result = work(connection);
    if result.is_err() {
        run(connection, "ROLLBACK TO change")?;
    }
    run(connection, "RELEASE change")?;
    result
}

fn run(connection: &Connection, sql: &str) -> Result<(), Failure> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute([])).map_err(unavailable)?;
    Ok(())
}

fn write(connection: &Connection, incoming: &Receiver<Task>) {
    let mut next = None;
    while let Some(task) = next.take().or_else(|| incoming.recv().ok()) {
        let first = match task {
            Task::Change(change) => change,
            Task::Alone(work) => {
                work(connection)(Ok(()));
                continue;
            }
        };
        let begun = run(connection, "BEGIN IMMEDIATE");
        let mut answers = vec![first(connection)];
        while answers.len() < BATCH
            && let Ok(task) = incoming.try_recv()
        {
            match task {
                Task::Change(change) => answers.push(change(connection)),
                alone @ Task::Alone(_) => {
                    next = Some(alone);
                    break;
                }
            }
        }
        let committed = begun.and_then(|()| run(connection, "COMMIT"));
        if committed.is_err() && !connection.is_autocommit() {
            run(connection, "ROLLBACK").ok();
        }
        for answer in answers {
            answer(committed.clone());
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "used in map_err")]
pub(super) fn unavailable(error: rusqlite::Error) -> Failure {
    Failure::new(Reason::StoreUnavailable, format!("ledger: {error}"))
}
