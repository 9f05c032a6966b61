//! The newest push of each pull request, compared in the transaction that keeps a delivery: whatever comes first, the
//! other one sees it.

use std::time::SystemTime;

use kfops_core::Failure;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    records::{Stored, Written, key, millis, number, of_millis, seconds},
    writer::unavailable,
};
use crate::{
    command::{Command, Repository},
    ports::Delivery,
    push::Push,
};

/// Keeps a delivery; false when it was accepted before.
pub(super) fn note(connection: &Connection, delivery: &Delivery) -> Result<bool, Failure> {
    let added = connection
        .prepare_cached(
            "INSERT INTO deliveries (id, event, received, payload) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        )
        .and_then(|mut insert| {
            insert.execute(params![delivery.id, delivery.event, seconds(delivery.received), &delivery.payload[..]])
        })
        .map_err(unavailable)?;
    Ok(added == 1)
}

/// The head after the newest push that is known, and when that was.
fn newest(connection: &Connection, on: (&Repository, u64)) -> Result<Option<(String, SystemTime)>, Failure> {
    connection
        .prepare_cached("SELECT head, at FROM pushes WHERE repository = ?1 AND pull_request = ?2")
        .and_then(|mut select| {
            let row = select.query_row(params![key(on.0), number(on.1)], |row| Ok((row.get(0)?, row.get(1)?)));
            row.optional()
        })
        .map(|found| found.map(|(head, at)| (head, of_millis(at))))
        .map_err(unavailable)
}

/// A new command, superseded if it was written before the newest push.
pub(super) fn compared(connection: &Connection, new: Written) -> Result<Written, Failure> {
    let command = new.command();
    if command.written.is_none() {
        return Ok(new);
    }
    let Some((head, at)) = newest(connection, (&command.repository, command.pull_request))? else { return Ok(new) };
    let mut command = command.clone();
    if command.written_before(&head, at) { Written::new(command, 1) } else { Ok(new) }
}

/// Keeps a push, and tells the open commands of its pull request.
pub(super) fn accept(
    connection: &Connection,
    delivery: &Delivery,
    push: &Push,
    now: SystemTime,
) -> Result<Option<Vec<Command>>, Failure> {
    if !note(connection, delivery)? {
        return Ok(None);
    }
    let known = newest(connection, (&push.repository, push.pull_request))?;
    let newest = match known {
        Some((head, at)) if !push.follows(&head, at) => head,
        _ => {
            connection
                .prepare_cached(
                    "INSERT INTO pushes (repository, pull_request, head, at) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (repository, pull_request) DO UPDATE SET head = excluded.head, at = excluded.at",
                )
                .and_then(|mut put| {
                    put.execute(params![key(&push.repository), number(push.pull_request), push.head, millis(push.at)])
                })
                .map_err(unavailable)?;
            push.head.clone()
        }
    };
    let these = "WHERE repository = ?1 AND pull_request = ?2 AND +ended = 0 ORDER BY seq";
    let on = (key(&push.repository), number(push.pull_request));
    let mut changed = Vec::new();
    for mut command in Stored::query(connection, these, on)?.into_iter().filter_map(Stored::readable) {
        if command.overtaken(push, &newest, delivery.received) {
            command.updated = now;
            let version = command.version + 1;
            changed.extend(Written::new(command, version)?.replace(connection)?);
        }
    }
    Ok(Some(changed))
}
