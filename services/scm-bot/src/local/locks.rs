//! Locks of targets. A lock is given when the first of its queue asks, never to somebody who does not; its fence only
//! ever grows, and is never behind the time in milliseconds.

use std::time::SystemTime;

use kfops_core::{Failure, Reason};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    records::{millis, of_millis, unknown},
    writer::unavailable,
};
use crate::ports::{Claim, Lock};

pub(super) fn claim(connection: &Connection, target: &str, command: &str, now: SystemTime) -> Result<Claim, Failure> {
    let settled: Option<bool> =
        one(connection, "SELECT settled FROM commands WHERE id = ?1", [command], |row| row.get(0))?;
    if settled.ok_or_else(|| unknown(command))? {
        let name = format!("commands/{command}");
        let message = format!("{name} has its outcome already, it gets no lock of {target}");
        return Err(Failure::new(Reason::InvalidArgument, message).on(name));
    }
    let lock: Option<(Option<String>, i64)> =
        one(connection, "SELECT holder, fence FROM locks WHERE target = ?1", [target], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let (holder, fence) = lock.unwrap_or_default();
    if holder.as_deref() == Some(command) {
        return Ok(Claim::Held(u64::try_from(fence).unwrap_or(0)));
    }
    execute(
        connection,
        "INSERT INTO lock_queue (target, command) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
        params![target, command],
    )?;
    let first: Option<String> =
        one(connection, "SELECT command FROM lock_queue WHERE target = ?1 ORDER BY seq LIMIT 1", [target], |row| {
            row.get(0)
        })?;
    if holder.is_none() && first.as_deref() == Some(command) {
        // A ledger that was lost or restored knows less than serving-deployer; the time is ahead of all that was given.
        let fence = fence.saturating_add(1).max(millis(now));
        execute(
            connection,
            "INSERT INTO locks (target, holder, fence, since) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (target) DO UPDATE SET holder = ?2, fence = ?3, since = ?4",
            params![target, command, fence, millis(now)],
        )?;
        leave(connection, target, command)?;
        return Ok(Claim::Held(u64::try_from(fence).unwrap_or(0)));
    }
    let before: Option<i64> = one(
        connection,
        "SELECT count(*) FROM lock_queue WHERE target = ?1
         AND seq < (SELECT seq FROM lock_queue WHERE target = ?1 AND command = ?2)",
        [target, command],
        |row| row.get(0),
    )?;
    let before = usize::try_from(before.unwrap_or(0)).unwrap_or(0);
    // While nobody holds it, the first in line is the one that is waited for.
    let ahead = if holder.is_some() { before } else { before.saturating_sub(1) };
    Ok(Claim::Waiting { holder: holder.or(first).unwrap_or_default(), ahead })
}

pub(super) fn seize(connection: &Connection, target: &str, holder: &str, now: SystemTime) -> Result<bool, Failure> {
    let freed = execute(
        connection,
        "UPDATE locks SET holder = NULL, since = ?3 WHERE target = ?1 AND holder = ?2",
        params![target, holder, millis(now)],
    )?;
    if freed > 0 {
        leave(connection, target, holder)?;
    }
    Ok(freed > 0)
}

/// Frees everything that a command holds or waits for.
pub(super) fn release(connection: &Connection, command: &str, now: SystemTime) -> Result<(), Failure> {
    execute(connection, "UPDATE locks SET holder = NULL, since = ?2 WHERE holder = ?1", params![command, millis(now)])?;
    execute(connection, "DELETE FROM lock_queue WHERE command = ?1", [command])?;
    Ok(())
}

pub(super) fn all(connection: &Connection) -> Result<Vec<Lock>, Failure> {
    let list = || {
        let mut locks = Vec::new();
        let mut rows = connection.prepare_cached("SELECT target, holder, fence, since FROM locks ORDER BY target")?;
        let mut queue = connection.prepare_cached("SELECT command FROM lock_queue WHERE target = ?1 ORDER BY seq")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let target: String = row.get(0)?;
            let waiting = queue.query_map([&target], |row| row.get(0))?.collect::<Result<_, _>>()?;
            locks.push(Lock {
                target,
                holder: row.get(1)?,
                fence: u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0),
                since: of_millis(row.get(3)?),
                queue: waiting,
            });
        }
        Ok::<_, rusqlite::Error>(locks)
    };
    // One view of both tables.
    let transaction = connection.unchecked_transaction().map_err(unavailable)?;
    let locks = list().map_err(unavailable)?;
    transaction.finish().map_err(unavailable)?;
    Ok(locks)
}

fn leave(connection: &Connection, target: &str, command: &str) -> Result<(), Failure> {
    execute(connection, "DELETE FROM lock_queue WHERE target = ?1 AND command = ?2", [target, command])?;
    Ok(())
}

fn execute(connection: &Connection, sql: &str, params: impl rusqlite::Params) -> Result<usize, Failure> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute(params)).map_err(unavailable)
}

fn one<T>(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    row: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, Failure> {
    connection
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_row(params, row).optional())
        .map_err(unavailable)
}
