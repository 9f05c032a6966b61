//! The ledger in SQLite (WAL). Deliveries are kept with their commands; a command is replaced only in the version that
//! its writer has seen.

use std::{
    fs::File,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use async_trait::async_trait;
use kfops_core::{Failure, Reason};
use rusqlite::{Connection, params, types::Value};

use super::{
    compaction, locks, pushes,
    records::{Stored, Written, find, key, number, of_millis},
    schema,
    writer::{Writer, unavailable},
};
use crate::{
    command::{Command, Repository},
    ports::{Accepted, Claim, CommandPage, Compacted, Created, Delivery, Filter, Ledger, Lock, settled},
    push::Push,
};

/// The ledger in SQLite. Cheap to clone.
#[derive(Clone)]
pub struct SqliteLedger(Arc<Inner>);

struct Inner {
    writer: Writer,
    reader: Mutex<Connection>,
    /// The last to go: whoever opens the ledger next finds it closed.
    _guard: File,
}

impl Inner {
    fn with<T>(&self, work: impl FnOnce(&Connection) -> T) -> T {
        work(&self.reader.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl SqliteLedger {
    /// Opens (or makes) the ledger in a folder, for this process alone.
    pub fn open(folder: &Path, now: SystemTime) -> Result<Self, Failure> {
        std::fs::create_dir_all(folder).map_err(|error| {
            Failure::new(Reason::StoreUnavailable, format!("cannot make {}: {error}", folder.display()))
        })?;
        let guard = schema::guard(folder)?;
        let mut writer = schema::connect(folder)?;
        schema::migrate(&mut writer, now)?;
        schema::free_stale(&writer, now)?;
        let reader = Mutex::new(schema::connect(folder)?);
        Ok(Self(Arc::new(Inner { writer: Writer::start(writer)?, reader, _guard: guard })))
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let inner = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || work(&inner)).await.map_err(Failure::internal)?
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn accept(&self, delivery: Delivery, commands: Vec<Command>) -> Result<Accepted, Failure> {
        let commands = commands.into_iter().map(|command| Written::new(command, 1)).collect::<Result<Vec<_>, _>>()?;
        self.0
            .writer
            .change(move |connection| {
                if !pushes::note(connection, &delivery)? {
                    return Ok(Accepted::Duplicate);
                }
                let asked = commands.len();
                let mut new = Vec::with_capacity(asked);
                for command in commands {
                    // The same comment may come under another GUID, e.g. from a second hook.
                    new.extend(pushes::compared(connection, command)?.insert(connection)?);
                }
                Ok(if new.is_empty() && asked > 0 { Accepted::Duplicate } else { Accepted::New(new) })
            })
            .await
    }

    async fn accept_push(
        &self,
        delivery: Delivery,
        push: Push,
        now: SystemTime,
    ) -> Result<Option<Vec<Command>>, Failure> {
        self.0.writer.change(move |connection| pushes::accept(connection, &delivery, &push, now)).await
    }

    async fn create(&self, command: Command) -> Result<Created, Failure> {
        let new = Written::new(command.clone(), 1)?;
        self.0
            .writer
            .change(move |connection| {
                if let Some(new) = new.insert(connection)? {
                    return Ok(Created::New(new));
                }
                let existing = find(connection, &command.id)?.command();
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
        self.read(move |inner| Ok(inner.with(|connection| find(connection, &id))?.command())).await
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
        // A condition that is not asked for must not stand there: SQLite would not use the index.
        let mut conditions = "WHERE seq < ?".to_owned();
        let mut values = vec![Value::from(before)];
        if let Some(repository) = &filter.repository {
            conditions.push_str(" AND repository = ?");
            values.push(key(repository).into());
        }
        if let Some(pull_request) = filter.pull_request {
            conditions.push_str(" AND pull_request = ?");
            values.push(number(pull_request).into());
        }
        conditions.push_str(" ORDER BY seq DESC LIMIT ?");
        values.push((size + 1).into());
        self.read(move |inner| {
            let mut stored =
                inner.with(|connection| Stored::query(connection, &conditions, rusqlite::params_from_iter(values)))?;
            let size = usize::try_from(size).unwrap_or(50);
            let more = stored.len() > size;
            stored.truncate(size);
            let next = stored.last().filter(|_| more).map(|stored| stored.seq.to_string());
            let commands = stored.into_iter().map(Stored::command).collect();
            Ok(CommandPage { commands, next_page_token: next.unwrap_or_default() })
        })
        .await
    }

    async fn open(&self) -> Result<Vec<Command>, Failure> {
        self.read(|inner| {
            let stored =
                inner.with(|connection| Stored::query(connection, "WHERE ended = 0 ORDER BY seq", params![]))?;
            Ok(stored.into_iter().filter_map(Stored::readable).collect())
        })
        .await
    }

    async fn open_ids(&self) -> Result<Vec<String>, Failure> {
        self.read(|inner| {
            let ids = inner.with(|connection| {
                let mut ids = connection.prepare_cached("SELECT id FROM commands WHERE ended = 0 ORDER BY seq")?;
                ids.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()
            });
            ids.map_err(unavailable)
        })
        .await
    }

    async fn open_of(&self, repository: &Repository, pull_request: u64) -> Result<Vec<Command>, Failure> {
        let on = (key(repository), number(pull_request));
        self.read(move |inner| {
            // The index of pull requests serves better than that of open commands, of which there may be thousands.
            let these = "WHERE repository = ?1 AND pull_request = ?2 AND +ended = 0 ORDER BY seq";
            let stored = inner.with(|connection| Stored::query(connection, these, on))?;
            Ok(stored.into_iter().filter_map(Stored::readable).filter(|command| !command.state.ended()).collect())
        })
        .await
    }

    async fn missing(&self, deliveries: &[String]) -> Result<Vec<String>, Failure> {
        let mut deliveries = deliveries.to_vec();
        self.read(move |inner| {
            let known = inner.with(|connection| {
                let mut known = connection.prepare_cached("SELECT 1 FROM deliveries WHERE id = ?1")?;
                deliveries.iter().map(|id| known.exists([id])).collect::<Result<Vec<_>, _>>()
            });
            let mut known = known.map_err(unavailable)?.into_iter();
            deliveries.retain(|_| !known.next().unwrap_or(false));
            Ok(deliveries)
        })
        .await
    }

    async fn claim(&self, target: &str, command: &str, now: SystemTime) -> Result<Claim, Failure> {
        let (target, command) = (target.to_owned(), command.to_owned());
        self.0.writer.change(move |connection| locks::claim(connection, &target, &command, now)).await
    }

    async fn seize(&self, target: &str, holder: &str, now: SystemTime) -> Result<bool, Failure> {
        let (target, holder) = (target.to_owned(), holder.to_owned());
        self.0.writer.change(move |connection| locks::seize(connection, &target, &holder, now)).await
    }

    async fn locks(&self) -> Result<Vec<Lock>, Failure> {
        self.read(|inner| inner.with(locks::all)).await
    }

    async fn deployed(&self, target: &str, revision: &str) -> Result<Option<Command>, Failure> {
        let (target, revision) = (target.to_owned(), revision.to_owned());
        self.read(move |inner| {
            let newest = "WHERE target = ?1 AND revision = ?2 ORDER BY seq DESC LIMIT 1";
            let found = inner.with(|connection| Stored::query(connection, newest, [target, revision]))?;
            Ok(found.into_iter().next().map(Stored::command))
        })
        .await
    }

    async fn deployer(&self, target: &str) -> Result<Option<Command>, Failure> {
        let target = target.to_owned();
        self.read(move |inner| {
            let newest = "WHERE target = ?1 ORDER BY seq DESC LIMIT 1";
            let found = inner.with(|connection| Stored::query(connection, newest, [target]))?;
            Ok(found.into_iter().next().map(Stored::command))
        })
        .await
    }

    async fn compact(&self, deliveries: SystemTime, commands: SystemTime) -> Result<Compacted, Failure> {
        compaction::compact(&self.0.writer, deliveries, commands).await
    }

    async fn shrink(&self, payloads: SystemTime) -> Result<usize, Failure> {
        compaction::shrink(&self.0.writer, payloads).await
    }

    async fn born(&self) -> Result<SystemTime, Failure> {
        self.read(|inner| {
            let born = inner.with(|connection| {
                connection.query_row("SELECT value FROM facts WHERE name = 'born'", [], |row| row.get(0))
            });
            born.map(of_millis).map_err(unavailable)
        })
        .await
    }

    async fn update(&self, command: Command) -> Result<Option<Command>, Failure> {
        let seen = command.version;
        let written = Written::new(command, seen + 1)?;
        self.0
            .writer
            .change(move |connection| {
                let Some(command) = written.replace(connection)? else { return Ok(None) };
                if settled(&command) {
                    locks::release(connection, &command.id, command.updated)?;
                }
                Ok(Some(command))
            })
            .await
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
