//! One table of resources.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::Stream;
use kfops_core::{Failure, Reason};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;

use crate::{Page, page};

/// What a table keeps.
pub trait Record: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Plural, e.g. `builds`: first part of the names, and the table's name.
    const COLLECTION: &'static str;

    /// The caller's id.
    fn id(&self) -> &str;

    /// Whether it will not change any more.
    fn ended(&self) -> bool;

    /// Whether `other` asks for the same thing: creating it again is then no conflict.
    fn same_request(&self, other: &Self) -> bool;
}

/// Outcome of a create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created<T> {
    /// It is new.
    New(T),
    /// It was there already, as it stands now.
    Existing(T),
}

/// Resources of one kind. Cheap to clone.
pub struct Table<T> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    connection: Mutex<Connection>,
    watchers: Mutex<HashMap<String, watch::Sender<T>>>,
    /// What the database did not take. Changed under the connection's lock only.
    unsaved: Mutex<HashMap<String, T>>,
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<T: Record> Table<T> {
    /// Opens (or makes) the table in the database file.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|error| {
                Failure::new(Reason::StoreUnavailable, format!("cannot make {}: {error}", parent.display()))
            })?;
        }
        let connection = Connection::open(path).map_err(unavailable)?;
        let setup = || {
            connection.busy_timeout(Duration::from_secs(5))?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.execute_batch(&format!(
                "CREATE TABLE IF NOT EXISTS {0} (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, ended INTEGER NOT NULL, record TEXT NOT NULL) STRICT;
                 CREATE INDEX IF NOT EXISTS {0}_open ON {0} (seq) WHERE ended = 0;",
                T::COLLECTION
            ))
        };
        setup().map_err(unavailable)?;
        Ok(Self {
            inner: Arc::new(Inner {
                connection: Mutex::new(connection),
                watchers: Mutex::default(),
                unsaved: Mutex::default(),
            }),
        })
    }

    /// Keeps a new record. One of the same id and the same request is returned as it is; another request under the id is refused.
    pub async fn create(&self, record: T) -> Result<Created<T>, Failure> {
        let table = self.clone();
        self.blocking(move |connection| {
            let json = to_json(&record)?;
            let sql = format!(
                "INSERT INTO {} (id, ended, record) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO NOTHING",
                T::COLLECTION
            );
            let added = connection.execute(&sql, params![record.id(), record.ended(), json]).map_err(unavailable)?;
            if added == 1 {
                return Ok(Created::New(record));
            }
            let existing = table.read(connection, record.id())?.ok_or_else(|| missing::<T>(record.id()))?;
            if existing.same_request(&record) {
                Ok(Created::Existing(existing))
            } else {
                let name = format!("{}/{}", T::COLLECTION, record.id());
                Err(Failure::new(Reason::AlreadyExists, format!("{name} exists and asks for something else"))
                    .on(name)
                    .action("choose another id"))
            }
        })
        .await
    }

    /// The record as it stands.
    pub async fn get(&self, id: &str) -> Result<T, Failure> {
        let (id, table) = (id.to_owned(), self.clone());
        self.blocking(move |connection| table.read(connection, &id)?.ok_or_else(|| missing::<T>(&id))).await
    }

    /// Newest first.
    pub async fn list(&self, page_size: i32, page_token: &str) -> Result<Page<T>, Failure> {
        let (size, before) = page::parse(page_size, page_token)?;
        let table = self.clone();
        self.blocking(move |connection| {
            let sql = format!("SELECT seq, record FROM {} WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2", T::COLLECTION);
            let mut rows = query::<T>(connection, &sql, params![before, size as i64 + 1])?;
            let more = rows.len() > size;
            rows.truncate(size);
            let next_page_token =
                if more { rows.last().map(|(seq, _)| seq.to_string()).unwrap_or_default() } else { String::new() };
            Ok(Page { items: rows.into_iter().map(|(_, record)| table.newest(record)).collect(), next_page_token })
        })
        .await
    }

    /// What has not ended, oldest first: to be resumed at start.
    pub async fn open_records(&self) -> Result<Vec<T>, Failure> {
        let table = self.clone();
        self.blocking(move |connection| {
            let sql = format!("SELECT seq, record FROM {} WHERE ended = 0 ORDER BY seq", T::COLLECTION);
            let records = query::<T>(connection, &sql, params![])?.into_iter().map(|(_, record)| table.newest(record));
            Ok(records.filter(|record| !record.ended()).collect())
        })
        .await
    }

    fn unsaved(&self) -> MutexGuard<'_, HashMap<String, T>> {
        self.inner.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a record beyond what the database has.
    fn newest(&self, record: T) -> T {
        self.unsaved().get(record.id()).cloned().unwrap_or(record)
    }

    fn read(&self, connection: &Connection, id: &str) -> Result<Option<T>, Failure> {
        if let Some(record) = self.unsaved().get(id) {
            return Ok(Some(record.clone()));
        }
        read::<T>(connection, id)
    }

    /// Whole snapshots: the newest at once, then each change (a slow reader skips some, never the last); ends after the terminal one.
    pub async fn watch(&self, id: &str) -> Result<impl Stream<Item = T> + Send + 'static, Failure> {
        use futures::StreamExt as _;
        let receiver = {
            let (owned, table) = (id.to_owned(), self.clone());
            self.blocking(move |connection| {
                let record = table.read(connection, &owned)?.ok_or_else(|| missing::<T>(&owned))?;
                let mut watchers = table.inner.watchers.lock().unwrap_or_else(PoisonError::into_inner);
                watchers.retain(|_, sender| sender.receiver_count() > 0);
                Ok(watchers.entry(owned).or_insert_with(|| watch::channel(record).0).subscribe())
            })
            .await?
        };
        // Ends with the terminal snapshot itself, without waiting for the sender to go.
        Ok(futures::stream::unfold((WatchStream::new(receiver), false), async |(mut stream, ended)| {
            if ended {
                return None;
            }
            let record = stream.next().await?;
            let ended = record.ended();
            Some((record, (stream, ended)))
        }))
    }

    fn notify(&self, record: &T) {
        let mut watchers = self.inner.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = watchers.get(record.id()) {
            sender.send_replace(record.clone());
            if record.ended() {
                watchers.remove(record.id());
            }
        }
    }

    async fn blocking<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<R, Failure> + Send + 'static,
    ) -> Result<R, Failure> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner.connection.lock().unwrap_or_else(PoisonError::into_inner)))
            .await
            .map_err(Failure::internal)?
    }
}

fn write<T: Record>(connection: &Connection, record: &T) -> Result<(), Failure> {
    let sql = format!("UPDATE {} SET ended = ?2, record = ?3 WHERE id = ?1", T::COLLECTION);
    connection.execute(&sql, params![record.id(), record.ended(), to_json(record)?]).map_err(unavailable)?;
    Ok(())
}

fn read<T: Record>(connection: &Connection, id: &str) -> Result<Option<T>, Failure> {
    let sql = format!("SELECT record FROM {} WHERE id = ?1", T::COLLECTION);
    let json: Option<String> = connection.query_row(&sql, [id], |row| row.get(0)).optional().map_err(unavailable)?;
    json.map(|json| from_json(&json)).transpose()
}

fn query<T: Record>(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
) -> Result<Vec<(i64, T)>, Failure> {
    let mut statement = connection.prepare_cached(sql).map_err(unavailable)?;
    let rows = statement
        .query_map(params, |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))
        .map_err(unavailable)?;
    rows.map(|row| row.map_err(unavailable).and_then(|(seq, json)| Ok((seq, from_json(&json)?)))).collect()
}

fn to_json<T: Serialize>(record: &T) -> Result<String, Failure> {
    serde_json::to_string(record).map_err(Failure::internal)
}

fn from_json<T: DeserializeOwned>(json: &str) -> Result<T, Failure> {
    serde_json::from_str(json).map_err(|error| Failure::internal(format!("a stored record cannot be read: {error}")))
}

fn missing<T: Record>(id: &str) -> Failure {
    let name = format!("{}/{id}", T::COLLECTION);
    Failure::new(Reason::NotFound, format!("no {name}")).on(name)
}

#[expect(clippy::needless_pass_by_value, reason = "used in map_err")]
fn unavailable(error: rusqlite::Error) -> Failure {
    Failure::new(Reason::StoreUnavailable, format!("database: {error}"))
}

mod change;
#[cfg(test)]
mod tests;
