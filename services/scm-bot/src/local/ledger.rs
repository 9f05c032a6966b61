//! The ledger in SQLite (WAL). Deliveries are kept with their commands; a command is replaced only in the version that
//! its writer has seen.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use kfops_core::{Failure, Reason};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::writer::{Writer, unavailable};
use crate::{
    command::Command,
    ports::{Accepted, Claim, CommandPage, Compacted, Created, Delivery, Filter, Ledger, Lock},
};

/// GitHub offers redelivery for some days; after that a GUID does not come back.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// The ledger in SQLite. Cheap to clone.
#[derive(Clone)]
pub struct SqliteLedger(Arc<Inner>);

struct Inner {
    writer: Writer,
    reader: Mutex<Connection>,
}

const SCHEMA: &str = "
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

impl SqliteLedger {
    /// Opens (or makes) the ledger in a folder.
    pub fn open(folder: &Path, now: SystemTime) -> Result<Self, Failure> {
        std::fs::create_dir_all(folder).map_err(|error| {
            Failure::new(Reason::StoreUnavailable, format!("cannot make {}: {error}", folder.display()))
        })?;
        let connect = || {
            let connection = Connection::open(folder.join("ledger.db"))?;
            connection.busy_timeout(Duration::from_secs(5))?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            Ok::<_, rusqlite::Error>(connection)
        };
        let setup = || {
            let writer = connect()?;
            writer.execute_batch(SCHEMA)?;
            let oldest = seconds(now.checked_sub(KEPT).unwrap_or(UNIX_EPOCH));
            writer.execute("DELETE FROM deliveries WHERE received < ?1", [oldest])?;
            Ok((writer, connect()?))
        };
        let (writer, reader) = setup().map_err(unavailable)?;
        Ok(Self(Arc::new(Inner { writer: Writer::start(writer)?, reader: Mutex::new(reader) })))
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let inner = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || work(&inner.reader.lock().unwrap_or_else(PoisonError::into_inner)))
            .await
            .map_err(Failure::internal)?
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn accept(&self, delivery: Delivery, commands: Vec<Command>) -> Result<Accepted, Failure> {
        self.0
            .writer
            .change(move |connection| {
                let added = connection
                    .prepare_cached("INSERT INTO deliveries (id, event, received, payload) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING")
                    .and_then(|mut insert| {
                        insert.execute(params![delivery.id, delivery.event, seconds(delivery.received), &delivery.payload[..]])
                    })
                    .map_err(unavailable)?;
                if added == 0 {
                    return Ok(Accepted::Duplicate);
                }
                let mut new = Vec::new();
                for command in commands {
                    // The same comment may come under another GUID, e.g. from a second hook.
                    new.extend(insert(connection, command)?);
                }
                Ok(if new.is_empty() { Accepted::Duplicate } else { Accepted::New(new) })
            })
            .await
    }

    async fn create(&self, command: Command) -> Result<Created, Failure> {
        self.0
            .writer
            .change(move |connection| {
                if let Some(new) = insert(connection, command.clone())? {
                    return Ok(Created::New(new));
                }
                let existing = find(connection, &command.id)?;
                if existing.same_request(&command) {
                    return Ok(Created::Existing(existing));
                }
                let name = format!("commands/{}", command.id);
                Err(Failure::new(Reason::AlreadyExists, format!("{name} exists and asks for something else"))
                    .on(name)
                    .action("choose another id"))
            })
            .await
    }

    async fn get(&self, id: &str) -> Result<Command, Failure> {
        let id = id.to_owned();
        self.read(move |connection| find(connection, &id)).await
    }

    async fn list(&self, filter: Filter, page_size: i32, page_token: &str) -> Result<CommandPage, Failure> {
        let size = match page_size {
            0 => 50,
            1.. => page_size.min(1000),
            _ => return Err(Failure::new(Reason::InvalidArgument, "page_size must not be negative").on("page_size")),
        };
        let before: i64 = if page_token.is_empty() {
            i64::MAX
        } else {
            page_token.parse().map_err(|_| {
                Failure::new(Reason::InvalidArgument, "page_token is not one that a list gave out").on("page_token")
            })?
        };
        self.read(move |connection| {
            let repository = filter.repository.map(|repository| repository.to_string());
            let pull_request = filter.pull_request.map(|number| i64::try_from(number).unwrap_or(i64::MAX));
            let mut commands = query(
                connection,
                "SELECT seq, version, record FROM commands WHERE seq < ?1 AND (?2 IS NULL OR repository = ?2)
                 AND (?3 IS NULL OR pull_request = ?3) ORDER BY seq DESC LIMIT ?4",
                params![before, repository, pull_request, size + 1],
            )?;
            let size = usize::try_from(size).unwrap_or(50);
            let more = commands.len() > size;
            commands.truncate(size);
            let next = commands.last().filter(|_| more).map(|command| command.seq.to_string());
            Ok(CommandPage { commands, next_page_token: next.unwrap_or_default() })
        })
        .await
    }

    async fn missing(&self, _: &[String]) -> Result<Vec<String>, Failure> {
        Err(Failure::internal("not there yet"))
    }

    async fn claim(&self, _: &str, _: &str, _: SystemTime) -> Result<Claim, Failure> {
        Err(Failure::internal("not there yet"))
    }

    async fn seize(&self, _: &str, _: &str, _: SystemTime) -> Result<bool, Failure> {
        Err(Failure::internal("not there yet"))
    }

    async fn locks(&self) -> Result<Vec<Lock>, Failure> {
        Err(Failure::internal("not there yet"))
    }

    async fn deployed(&self, _: &str, _: &str) -> Result<Option<Command>, Failure> {
        Err(Failure::internal("not there yet"))
    }

    async fn compact(&self, _: SystemTime, _: SystemTime) -> Result<Compacted, Failure> {
        Err(Failure::internal("not there yet"))
    }

    async fn open(&self) -> Result<Vec<Command>, Failure> {
        self.read(|connection| {
            query(connection, "SELECT seq, version, record FROM commands WHERE ended = 0 ORDER BY seq", params![])
        })
        .await
    }

    async fn update(&self, mut command: Command) -> Result<Option<Command>, Failure> {
        self.0
            .writer
            .change(move |connection| {
                let seen = command.version;
                command.version += 1;
                let changed = connection
                    .prepare_cached(
                        "UPDATE commands SET version = ?3, ended = ?4, record = ?5 WHERE id = ?1 AND version = ?2",
                    )
                    .and_then(|mut update| {
                        let record = serde_json::to_string(&command).unwrap_or_default();
                        update.execute(params![command.id, seen, command.version, command.state.ended(), record])
                    })
                    .map_err(unavailable)?;
                Ok((changed == 1).then_some(command))
            })
            .await
    }
}

/// None when there is a command of that id.
fn insert(connection: &Connection, mut command: Command) -> Result<Option<Command>, Failure> {
    command.version = 1;
    let record = serde_json::to_string(&command).map_err(Failure::internal)?;
    let added = connection
        .prepare_cached(
            "INSERT INTO commands (id, version, repository, pull_request, ended, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (id) DO NOTHING",
        )
        .and_then(|mut insert| {
            let number = i64::try_from(command.pull_request).unwrap_or(i64::MAX);
            let repository = command.repository.to_string();
            insert.execute(params![command.id, command.version, repository, number, command.state.ended(), record])
        })
        .map_err(unavailable)?;
    command.seq = connection.last_insert_rowid();
    Ok((added == 1).then_some(command))
}

fn find(connection: &Connection, id: &str) -> Result<Command, Failure> {
    let name = format!("commands/{id}");
    connection
        .query_row("SELECT seq, version, record FROM commands WHERE id = ?1", [id], row)
        .optional()
        .map_err(unavailable)?
        .ok_or_else(|| Failure::new(Reason::NotFound, format!("no {name}")).on(name))?
}

fn query(connection: &Connection, sql: &str, params: impl rusqlite::Params) -> Result<Vec<Command>, Failure> {
    let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
    let rows = statement.query_map(params, row).map_err(unavailable)?;
    rows.map(|row| row.map_err(unavailable)?).collect()
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Result<Command, Failure>> {
    let (seq, version, record): (i64, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
    Ok(match serde_json::from_str::<Command>(&record) {
        Ok(command) => Ok(Command { seq, version, ..command }),
        Err(error) => Err(Failure::internal(format!("a stored command cannot be read: {error}"))),
    })
}

fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).ok().and_then(|age| i64::try_from(age.as_secs()).ok()).unwrap_or(0)
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
