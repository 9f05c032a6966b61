//! One thread writes: changes that arrive together share a transaction, and with it the cost of making it durable.

use std::sync::mpsc::{Receiver, Sender, channel};

use kfops_core::{Failure, Reason};
use rusqlite::Connection;
use tokio::sync::oneshot;

/// Most changes in one transaction.
const BATCH: usize = 256;

type Change = Box<dyn FnOnce(&Connection) -> Box<dyn FnOnce(Result<(), Failure>) + Send> + Send>;

/// Hands changes to the writing thread. It ends when this is dropped.
pub(super) struct Writer {
    changes: Sender<Change>,
}

impl Writer {
    pub(super) fn start(connection: Connection) -> Result<Self, Failure> {
        let (changes, incoming) = channel();
        std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || write(&connection, &incoming))
            .map_err(|error| Failure::new(Reason::StoreUnavailable, format!("ledger: {error}")))?;
        Ok(Self { changes })
    }

    /// Makes a change; returns once it is durable. A failed change leaves no trace and does not harm its neighbours.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (answer, answered) = oneshot::channel();
        let change: Change = Box::new(move |connection| {
            let result = isolated(connection, work);
            Box::new(move |committed: Result<(), Failure>| {
                answer.send(result.and_then(|value| committed.map(|()| value))).ok();
            })
        });
        let gone = || Failure::new(Reason::StoreUnavailable, "the ledger is closed");
        self.changes.send(change).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

fn isolated<T>(connection: &Connection, work: impl FnOnce(&Connection) -> Result<T, Failure>) -> Result<T, Failure> {
    connection.execute_batch("SAVEPOINT change").map_err(unavailable)?;
    let result = work(connection);
    let end = if result.is_ok() { "RELEASE change" } else { "ROLLBACK TO change; RELEASE change" };
    connection.execute_batch(end).map_err(unavailable)?;
    result
}

fn write(connection: &Connection, incoming: &Receiver<Change>) {
    while let Ok(first) = incoming.recv() {
        let begun = connection.execute_batch("BEGIN IMMEDIATE").map_err(unavailable);
        let mut answers = vec![first(connection)];
        while answers.len() < BATCH
            && let Ok(next) = incoming.try_recv()
        {
            answers.push(next(connection));
        }
        let committed = begun.and_then(|()| connection.execute_batch("COMMIT").map_err(unavailable));
        if committed.is_err() {
            connection.execute_batch("ROLLBACK").ok();
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
