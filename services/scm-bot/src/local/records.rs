//! Commands as rows.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kfops_core::{Failure, Reason, TraceContext};
use rusqlite::{Connection, params};
use serde::de::DeserializeOwned;

use super::writer::unavailable;
use crate::{
    command::{Command, Origin, Repository, State},
    ports::{brought_live, settled},
    verb::Verb,
};

/// What is kept beside the record, to be found by.
pub(super) struct Columns {
    pub(super) repository: String,
    pub(super) pull_request: i64,
    pub(super) settled: bool,
    pub(super) ended_at: Option<i64>,
    pub(super) delivery: Option<String>,
    pub(super) target: Option<String>,
    pub(super) revision: Option<String>,
}

impl Columns {
    pub(super) fn of(command: &Command) -> Self {
        let (target, revision) = brought_live(command).unzip();
        Self {
            repository: key(&command.repository),
            pull_request: number(command.pull_request),
            settled: settled(command),
            ended_at: command.state.ended().then(|| seconds(command.ended.unwrap_or(command.updated))),
            delivery: match &command.origin {
                Origin::Comment { delivery, .. } | Origin::Button { delivery, .. } => Some(delivery.clone()),
                Origin::Api => None,
            },
            target: target.map(str::to_owned),
            revision: revision.map(str::to_owned),
        }
    }
}

/// A command with the text that is stored of it, made where the caller is rather than where all wait.
pub(super) struct Written {
    command: Command,
    columns: Columns,
    record: String,
}

impl Written {
    /// `version`: the one that it gets.
    pub(super) fn new(mut command: Command, version: i64) -> Result<Self, Failure> {
        command.version = version;
        let record = serde_json::to_string(&command).map_err(Failure::internal)?;
        Ok(Self { columns: Columns::of(&command), command, record })
    }

    pub(super) const fn command(&self) -> &Command {
        &self.command
    }

    /// None when there is a command of that id.
    pub(super) fn insert(self, connection: &Connection) -> Result<Option<Command>, Failure> {
        let Self { mut command, columns, record } = self;
        let added = connection
            .prepare_cached(
                "INSERT INTO commands (id, version, repository, pull_request, ended, settled, ended_at, delivery, target,
                 revision, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (id) DO NOTHING",
            )
            .and_then(|mut insert| {
                insert.execute(params![
                    command.id,
                    command.version,
                    columns.repository,
                    columns.pull_request,
                    command.state.ended(),
                    columns.settled,
                    columns.ended_at,
                    columns.delivery,
                    columns.target,
                    columns.revision,
                    record
                ])
            })
            .map_err(unavailable)?;
        command.seq = connection.last_insert_rowid();
        Ok((added == 1).then_some(command))
    }

    /// None when the version before is not what is stored.
    pub(super) fn replace(self, connection: &Connection) -> Result<Option<Command>, Failure> {
        let Self { command, columns, record } = self;
        let changed = connection
            .prepare_cached(
                "UPDATE commands SET version = ?3, ended = ?4, settled = ?5, ended_at = ?6, target = ?7, revision = ?8,
                 record = ?9 WHERE id = ?1 AND version = ?2",
            )
            .and_then(|mut update| {
                update.execute(params![
                    command.id,
                    command.version - 1,
                    command.version,
                    command.state.ended(),
                    columns.settled,
                    columns.ended_at,
                    columns.target,
                    columns.revision,
                    record
                ])
            })
            .map_err(unavailable)?;
        Ok((changed == 1).then_some(command))
    }
}

/// A command as it is stored.
pub(super) struct Stored {
    pub(super) seq: i64,
    id: String,
    version: i64,
    repository: String,
    pull_request: i64,
    record: String,
}

impl Stored {
    /// `rest` follows the table's name.
    pub(super) fn query(
        connection: &Connection,
        rest: &str,
        params: impl rusqlite::Params,
    ) -> Result<Vec<Self>, Failure> {
        let sql = format!("SELECT seq, id, version, repository, pull_request, record FROM commands {rest}");
        let mut statement = connection.prepare_cached(&sql).map_err(unavailable)?;
        let rows = statement.query_map(params, |row| {
            Ok(Self {
                seq: row.get(0)?,
                id: row.get(1)?,
                version: row.get(2)?,
                repository: row.get(3)?,
                pull_request: row.get(4)?,
                record: row.get(5)?,
            })
        });
        rows.map_err(unavailable)?.collect::<Result<_, _>>().map_err(unavailable)
    }

    /// One that cannot be read is shown as failed, with what can be read of it: the others must not suffer for it.
    pub(super) fn command(self) -> Command {
        self.read().unwrap_or_else(|(stored, error)| stored.unreadable(&error))
    }

    /// None when it cannot be read.
    pub(super) fn readable(self) -> Option<Command> {
        self.read().map_err(|(stored, error)| stored.complain(&error)).ok()
    }

    fn read(self) -> Result<Command, (Self, serde_json::Error)> {
        match serde_json::from_str::<Command>(&self.record) {
            Ok(command) => Ok(Command { seq: self.seq, version: self.version, ..command }),
            Err(error) => Err((self, error)),
        }
    }

    fn complain(&self, error: &serde_json::Error) {
        tracing::error!(command = self.id, %error, "a stored command cannot be read; it is left alone");
    }

    fn unreadable(self, error: &serde_json::Error) -> Command {
        self.complain(error);
        let value: serde_json::Value = serde_json::from_str(&self.record).unwrap_or_default();
        let repository = Repository::parse(&self.repository)
            .unwrap_or_else(|_| Repository { owner: "unknown".into(), name: "unknown".into() });
        let pull_request = u64::try_from(self.pull_request).unwrap_or_default();
        let received = field(&value, "received").unwrap_or(UNIX_EPOCH);
        let name = format!("commands/{}", self.id);
        let failure = Failure::new(Reason::Internal, format!("the record of {name} cannot be read: {error}"))
            .on(name)
            .action("if a newer scm-bot wrote it, run that one; else write the command again");
        Command {
            seq: self.seq,
            version: self.version,
            state: State::Failed,
            outcome: Some(State::Failed),
            failure: Some(failure),
            ..Command::new(
                self.id,
                field(&value, "verb").unwrap_or(Verb::Help),
                (repository, pull_request),
                field(&value, "actor").unwrap_or_default(),
                field(&value, "origin").unwrap_or(Origin::Api),
                field(&value, "trace").unwrap_or_else(|| TraceContext::from_random([1; 24])),
                received,
            )
        }
    }
}

fn field<T: DeserializeOwned>(value: &serde_json::Value, name: &str) -> Option<T> {
    value.get(name).and_then(|value| T::deserialize(value).ok())
}

pub(super) fn find(connection: &Connection, id: &str) -> Result<Stored, Failure> {
    Stored::query(connection, "WHERE id = ?1", [id])?.pop().ok_or_else(|| unknown(id))
}

pub(super) fn unknown(id: &str) -> Failure {
    let name = format!("commands/{id}");
    Failure::new(Reason::NotFound, format!("no {name}")).on(name)
}

/// Repositories that differ in case only are the same.
pub(super) fn key(repository: &Repository) -> String {
    repository.to_string().to_ascii_lowercase()
}

pub(super) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn seconds(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).ok().and_then(|age| i64::try_from(age.as_secs()).ok()).unwrap_or(0)
}

pub(super) fn millis(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).ok().and_then(|age| i64::try_from(age.as_millis()).ok()).unwrap_or(0)
}

pub(super) fn of_millis(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
