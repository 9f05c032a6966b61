//! Where a row that is known by its id alone belongs.

use rusqlite::Connection;

use super::maybe;
use crate::error::Result;

/// The repository of a row, by the prefix of its node id. For issues and reviews with the number of the issue.
pub(crate) fn place_of(db: &Connection, kind: &str, id: i64) -> Result<Option<(i64, i64)>> {
    let sql = match kind {
        "I" | "PR" => "SELECT repository_id, number FROM issues WHERE id = ?1",
        "IC" => "SELECT i.repository_id, i.number FROM comments c JOIN issues i ON i.id = c.issue_id WHERE c.id = ?1",
        "PRR" => "SELECT i.repository_id, i.number FROM reviews r JOIN issues i ON i.id = r.issue_id WHERE r.id = ?1",
        "LA" => "SELECT repository_id, 0 FROM labels WHERE id = ?1",
        "CR" => "SELECT repository_id, 0 FROM check_runs WHERE id = ?1",
        "DE" => "SELECT repository_id, 0 FROM deployments WHERE id = ?1 AND parent IS NULL",
        _ => return Ok(None),
    };
    maybe(db, sql, [id], |row| Ok((row.get(0)?, row.get(1)?)))
}
