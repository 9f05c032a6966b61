//! Check runs and commit statuses.

use rusqlite::{Connection, Row, params};

use super::users::read_user;
use super::{Page, maybe, rows};
use crate::clock::now;
use crate::error::Result;
use crate::model::{CheckFields, CheckRun, Status, User};

/// One suite for each App and commit; the first check run names it.
const SELECT: &str = "SELECT c.id, c.head_sha, c.fields, u.id, u.login, u.role, coalesce(a.id, u.id), \
     (SELECT min(s.id) FROM check_runs s WHERE s.repository_id = c.repository_id AND s.head_sha = c.head_sha \
     AND s.user_id = c.user_id) \
     FROM check_runs c JOIN users u ON u.id = c.user_id LEFT JOIN apps a ON a.user_id = u.id";

fn read(row: &Row<'_>) -> rusqlite::Result<CheckRun> {
    let fields: String = row.get(2)?;
    let fields = serde_json::from_str(&fields)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, Box::new(error)))?;
    Ok(CheckRun {
        id: row.get(0)?,
        head_sha: row.get(1)?,
        app: read_user(row, 3)?,
        app_id: row.get(6)?,
        suite: row.get(7)?,
        fields,
    })
}

pub(crate) fn check_run(db: &Connection, repository: i64, id: i64) -> Result<Option<CheckRun>> {
    maybe(db, &format!("{SELECT} WHERE c.repository_id = ?1 AND c.id = ?2"), params![repository, id], read)
}

/// Check runs of a commit, oldest first; with `latest`, the newest of each name only.
pub(crate) fn check_runs(
    db: &Connection,
    repository: i64,
    sha: &str,
    latest: bool,
    page: Page,
) -> Result<Vec<CheckRun>> {
    let newest = "AND c.id = (SELECT max(n.id) FROM check_runs n WHERE n.repository_id = c.repository_id \
         AND n.head_sha = c.head_sha AND n.user_id = c.user_id AND n.fields ->> 'name' = c.fields ->> 'name')";
    let newest = if latest { newest } else { "" };
    let sql =
        format!("{SELECT} WHERE c.repository_id = ?1 AND c.head_sha = ?2 {newest} ORDER BY c.id LIMIT ?3 OFFSET ?4");
    rows(db, &sql, params![repository, sha, page.limit(), page.offset()], read)
}

pub(crate) fn create_check_run(
    db: &Connection,
    repository: i64,
    sha: &str,
    app: &User,
    fields: &CheckFields,
) -> Result<CheckRun> {
    db.execute(
        "INSERT INTO check_runs (repository_id, head_sha, user_id, fields) VALUES (?1, ?2, ?3, ?4)",
        params![repository, sha, app.id, serde_json::to_string(fields)?],
    )?;
    check_run(db, repository, db.last_insert_rowid())?.ok_or(crate::error::Error::NotFound)
}

pub(crate) fn update_check_run(db: &Connection, run: &CheckRun) -> Result<()> {
    let fields = serde_json::to_string(&run.fields)?;
    db.execute("UPDATE check_runs SET fields = ?2 WHERE id = ?1", params![run.id, fields])?;
    Ok(())
}

/// A status to be set.
#[derive(Debug, Clone)]
pub(crate) struct NewStatus {
    pub(crate) sha: String,
    pub(crate) state: String,
    pub(crate) context: String,
    pub(crate) description: Option<String>,
    pub(crate) target_url: Option<String>,
}

pub(crate) fn create_status(db: &Connection, repository: i64, user: &User, new: &NewStatus) -> Result<Status> {
    let at = now();
    db.execute(
        "INSERT INTO statuses (repository_id, sha, state, context, description, target_url, user_id, created_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![repository, new.sha, new.state, new.context, new.description, new.target_url, user.id, at],
    )?;
    Ok(Status {
        id: db.last_insert_rowid(),
        state: new.state.clone(),
        context: new.context.clone(),
        description: new.description.clone(),
        target_url: new.target_url.clone(),
        creator: user.clone(),
        created_at: at,
    })
}

/// Statuses of a commit, newest first; with `latest`, the newest of each context only.
pub(crate) fn statuses(db: &Connection, repository: i64, sha: &str, latest: bool, page: Page) -> Result<Vec<Status>> {
    let newest = "AND s.id = (SELECT max(n.id) FROM statuses n WHERE n.repository_id = s.repository_id \
         AND n.sha = s.sha AND n.context = s.context)";
    let newest = if latest { newest } else { "" };
    let sql = format!(
        "SELECT s.id, s.state, s.context, s.description, s.target_url, s.created_at, u.id, u.login, u.role \
         FROM statuses s JOIN users u ON u.id = s.user_id \
         WHERE s.repository_id = ?1 AND s.sha = ?2 {newest} ORDER BY s.id DESC LIMIT ?3 OFFSET ?4"
    );
    rows(db, &sql, params![repository, sha, page.limit(), page.offset()], |row| {
        Ok(Status {
            id: row.get(0)?,
            state: row.get(1)?,
            context: row.get(2)?,
            description: row.get(3)?,
            target_url: row.get(4)?,
            created_at: row.get(5)?,
            creator: read_user(row, 6)?,
        })
    })
}
