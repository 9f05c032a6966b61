//! What is forgotten, in pieces small enough that nobody waits long behind one.

use std::time::SystemTime;

use kfops_core::Failure;
use rusqlite::{Connection, params};

use super::{
    records::{millis, seconds},
    writer::{Writer, unavailable},
};
use crate::ports::{Compacted, DEPLOYED_KEPT};

/// Rows in one piece.
const PIECE: u16 = 500;
/// Pages given back to the file system in one piece.
const PAGES: u16 = 1000;

const DELIVERIES: &str =
    "DELETE FROM deliveries WHERE rowid IN (SELECT rowid FROM deliveries WHERE received < ?1 LIMIT ?2)";

const PUSHES: &str = "DELETE FROM pushes WHERE rowid IN (SELECT rowid FROM pushes WHERE at < ?1 LIMIT ?2)";

/// Those that ended, but not the newest that deployed to a target.
const COMMANDS: &str = "
DELETE FROM commands WHERE seq IN (
  SELECT seq FROM commands AS old WHERE ended = 1 AND ended_at < ?1 AND (target IS NULL OR EXISTS (
    SELECT 1 FROM commands AS newer WHERE newer.target = old.target AND newer.seq > old.seq
    ORDER BY newer.seq LIMIT 1 OFFSET ?3
  )) LIMIT ?2
)";

const PAYLOADS: &str = "
UPDATE deliveries SET payload = x'' WHERE rowid IN (
  SELECT rowid FROM deliveries WHERE payload <> x'' AND received < ?1
  AND NOT EXISTS (SELECT 1 FROM commands WHERE ended = 0 AND delivery = deliveries.id) LIMIT ?2
)";

pub(super) async fn compact(
    writer: &Writer,
    deliveries: SystemTime,
    commands: SystemTime,
) -> Result<Compacted, Failure> {
    let pushes = millis(deliveries);
    pieces(writer, move |connection| connection.prepare_cached(PUSHES)?.execute(params![pushes, PIECE])).await?;
    let (deliveries, commands) = (seconds(deliveries), seconds(commands));
    let deliveries =
        pieces(writer, move |connection| connection.prepare_cached(DELIVERIES)?.execute(params![deliveries, PIECE]))
            .await?;
    let commands = pieces(writer, move |connection| {
        connection.prepare_cached(COMMANDS)?.execute(params![commands, PIECE, DEPLOYED_KEPT - 1])
    })
    .await?;
    Ok(Compacted { deliveries, commands })
}

pub(super) async fn shrink(writer: &Writer, payloads: SystemTime) -> Result<usize, Failure> {
    let before = seconds(payloads);
    let payloads =
        pieces(writer, move |connection| connection.prepare_cached(PAYLOADS)?.execute(params![before, PIECE])).await?;
    while writer.alone(give_back).await? {}
    writer
        .alone(|connection| {
            // A row that says whether somebody was in the way; then it is done next time.
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(unavailable)
        })
        .await?;
    Ok(payloads)
}

/// Whether there is more.
fn give_back(connection: &Connection) -> Result<bool, Failure> {
    let free = || -> rusqlite::Result<i64> {
        let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
        // One row a page, and nothing in it.
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        connection.pragma_query_value(None, "freelist_count", |row| row.get(0))
    };
    free().map(|left| left > 0).map_err(unavailable)
}

async fn pieces(
    writer: &Writer,
    piece: impl Fn(&Connection) -> rusqlite::Result<usize> + Clone + Send + 'static,
) -> Result<usize, Failure> {
    let mut all = 0;
    loop {
        let piece = piece.clone();
        let some = writer.change(move |connection| piece(connection).map_err(unavailable)).await?;
        all += some;
        if some < usize::from(PIECE) {
            return Ok(all);
        }
    }
}
