//! The ledger's tables, and how an older ledger becomes one of today.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    path::Path,
    time::{Duration, SystemTime},
};

use kfops_core::{Failure, Reason};
use rusqlite::{Connection, Transaction, params};

use super::{
    records::{Columns, Stored, millis},
    writer::unavailable,
};

/// Counts the changes of the schema: `PRAGMA user_version`. 0 is the one that did not count yet.
const VERSION: i64 = 2;

/// As it was before the schema was counted.
const FIRST: &str = "
CREATE TABLE IF NOT EXISTS deliveries (
  id TEXT PRIMARY KEY, event TEXT NOT NULL, received INTEGER NOT NULL, payload BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS commands (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, repository TEXT NOT NULL,
  pull_request INTEGER NOT NULL, ended INTEGER NOT NULL, record TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS commands_open ON commands (seq) WHERE ended = 0;
CREATE INDEX IF NOT EXISTS commands_of_pull_request ON commands (repository, pull_request, seq);
";

/// Locks, and columns of commands that would otherwise be looked for in every record: whether it needs locks, when it
/// ended, where it comes from, what it brought live.
const SECOND: &str = "
ALTER TABLE commands ADD COLUMN settled INTEGER NOT NULL DEFAULT 0;
ALTER TABLE commands ADD COLUMN ended_at INTEGER;
ALTER TABLE commands ADD COLUMN delivery TEXT;
ALTER TABLE commands ADD COLUMN target TEXT;
ALTER TABLE commands ADD COLUMN revision TEXT;
CREATE INDEX commands_of_repository ON commands (repository, seq);
CREATE INDEX commands_ended ON commands (ended_at) WHERE ended = 1;
CREATE INDEX commands_of_delivery ON commands (delivery) WHERE ended = 0;
CREATE INDEX commands_deployed ON commands (target, seq, revision) WHERE target IS NOT NULL;
CREATE INDEX deliveries_received ON deliveries (received);
CREATE INDEX deliveries_with_payload ON deliveries (received) WHERE payload <> x'';
CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE locks (
  target TEXT PRIMARY KEY, holder TEXT, fence INTEGER NOT NULL, since INTEGER NOT NULL
) STRICT;
CREATE INDEX locks_held ON locks (holder) WHERE holder IS NOT NULL;
CREATE TABLE lock_queue (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, command TEXT NOT NULL, UNIQUE (target, command)
) STRICT;
CREATE INDEX lock_queue_of_target ON lock_queue (target, seq);
CREATE INDEX lock_queue_of_command ON lock_queue (command);
";

/// The newest push of each pull request that is known: what was written before it is not about it.
const THIRD: &str = "
CREATE TABLE pushes (
  repository TEXT NOT NULL, pull_request INTEGER NOT NULL, head TEXT NOT NULL, at INTEGER NOT NULL,
  PRIMARY KEY (repository, pull_request)
) STRICT;
CREATE INDEX pushes_made ON pushes (at);
";

/// Keeps other processes out for as long as the file is open: two that drive the same commands do everything twice.
pub(super) fn guard(folder: &Path) -> Result<File, Failure> {
    let path = folder.join("ledger.lock");
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(Reason::StoreUnavailable, format!("cannot lock {}: {error}", path.display()))
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| failed(&error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::Error(error)) => return Err(failed(&error)),
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            file.take(20).read_to_string(&mut pid).ok();
            let who = pid.trim().parse::<u32>().map_or("another process".to_owned(), |pid| format!("process {pid}"));
            return Err(Failure::new(
                Reason::AlreadyExists,
                format!("the ledger in {} is in use by {who}, and two would do everything twice", folder.display()),
            )
            .on(folder.join("ledger.db").display().to_string())
            .action("stop the other scm-bot first, or give this one a state folder of its own"));
        }
    }
    // For people only.
    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id())).ok();
    Ok(file)
}

/// A connection.
pub(super) fn connect(folder: &Path) -> Result<Connection, Failure> {
    let open = || {
        let connection = Connection::open(folder.join("ledger.db"))?;
        connection.busy_timeout(Duration::from_secs(5))?;
        // Only before the first table; an older ledger gets it from `migrate`.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -16_384)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok::<_, rusqlite::Error>(connection)
    };
    open().map_err(unavailable)
}

/// Makes the tables of today out of what is there, all or nothing; refuses a ledger from the future.
pub(super) fn migrate(connection: &mut Connection, now: SystemTime) -> Result<(), Failure> {
    let version = |connection: &Connection| {
        connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).map_err(unavailable)
    };
    let found = version(connection)?;
    if found > VERSION {
        return Err(Failure::new(
            Reason::StoreUnavailable,
            format!("the ledger was written by a newer scm-bot: its schema is {found}, and this one knows {VERSION}"),
        )
        .on("ledger.db")
        .action("run that version again, or restore the ledger from a backup made before it"));
    }
    if found == VERSION {
        return Ok(());
    }
    let transaction = connection.transaction().map_err(unavailable)?;
    if found == 0 {
        transaction.execute_batch(FIRST).and_then(|()| transaction.execute_batch(SECOND)).map_err(unavailable)?;
        fill(&transaction)?;
        // One that has taken anything before its birth was noted counts as old.
        let old = "EXISTS (SELECT 1 FROM deliveries) OR EXISTS (SELECT 1 FROM commands)";
        transaction
            .execute(&format!("INSERT INTO facts VALUES ('born', CASE WHEN {old} THEN 0 ELSE ?1 END)"), [millis(now)])
            .map_err(unavailable)?;
    }
    transaction.execute_batch(THIRD).map_err(unavailable)?;
    transaction.pragma_update(None, "user_version", VERSION).map_err(unavailable)?;
    transaction.commit().map_err(unavailable)?;
    // 2: incremental.
    let vacuum = connection.pragma_query_value(None, "auto_vacuum", |row| row.get::<_, i64>(0)).map_err(unavailable)?;
    if vacuum != 2 {
        connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL; VACUUM").map_err(unavailable)?;
    }
    Ok(())
}

/// The new columns of commands that are there already.
fn fill(transaction: &Transaction<'_>) -> Result<(), Failure> {
    let mut after = 0;
    loop {
        let some = Stored::query(transaction, "WHERE seq > ?1 ORDER BY seq LIMIT 1000", params![after])?;
        let Some(last) = some.last() else { return Ok(()) };
        after = last.seq;
        for stored in some {
            let (seq, command) = (stored.seq, stored.command());
            let columns = Columns::of(&command);
            transaction
                .prepare_cached(
                    "UPDATE commands SET repository = ?2, settled = ?3, ended_at = ?4, delivery = ?5, target = ?6,
                     revision = ?7 WHERE seq = ?1",
                )
                .and_then(|mut update| {
                    update.execute(params![
                        seq,
                        columns.repository,
                        columns.settled,
                        columns.ended_at,
                        columns.delivery,
                        columns.target,
                        columns.revision
                    ])
                })
                .map_err(unavailable)?;
        }
    }
}

/// Frees the locks and places of commands that need none any more, or are not there.
pub(super) fn free_stale(connection: &Connection, now: SystemTime) -> Result<(), Failure> {
    let gone = "NOT EXISTS (SELECT 1 FROM commands WHERE id = ";
    let locks = format!(
        "UPDATE locks SET holder = NULL, since = ?1 WHERE holder IS NOT NULL AND {gone} holder AND settled = 0)"
    );
    let places = format!("DELETE FROM lock_queue WHERE {gone} command AND settled = 0)");
    let freed = connection.execute(&locks, [millis(now)]).map_err(unavailable)?;
    let left = connection.execute(&places, []).map_err(unavailable)?;
    if freed + left > 0 {
        tracing::warn!(locks = freed, places = left, "freed locks of commands that have ended");
    }
    Ok(())
}
