//! Deployments, and their statuses as rows of the same table that have a parent.

use rusqlite::{Connection, Row, params};
use serde_json::{Map, Value};

use super::users::read_user;
use super::{Page, maybe, rows};
use crate::clock::now;
use crate::error::Result;
use crate::model::User;

const SELECT: &str = "SELECT d.id, d.parent, d.sha, d.environment, d.fields, d.created_at, u.id, u.login, u.role \
     FROM deployments d JOIN users u ON u.id = d.user_id";

/// A deployment, or a status of one.
#[derive(Debug, Clone)]
pub(crate) struct Deployment {
    pub(crate) id: i64,
    pub(crate) parent: Option<i64>,
    pub(crate) sha: String,
    pub(crate) environment: String,
    pub(crate) fields: Map<String, Value>,
    pub(crate) created_at: String,
    pub(crate) creator: User,
}

fn read(row: &Row<'_>) -> rusqlite::Result<Deployment> {
    let fields: String = row.get(4)?;
    Ok(Deployment {
        id: row.get(0)?,
        parent: row.get(1)?,
        sha: row.get(2)?,
        environment: row.get(3)?,
        fields: serde_json::from_str(&fields).unwrap_or_default(),
        created_at: row.get(5)?,
        creator: read_user(row, 6)?,
    })
}

/// Keeps a deployment or a status; its id and time are set here.
pub(crate) fn create_deployment(db: &Connection, repository: i64, new: Deployment) -> Result<Deployment> {
    let at = now();
    db.execute(
        "INSERT INTO deployments (repository_id, parent, sha, environment, user_id, fields, created_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            repository,
            new.parent,
            new.sha,
            new.environment,
            new.creator.id,
            serde_json::to_string(&new.fields)?,
            at
        ],
    )?;
    Ok(Deployment { id: db.last_insert_rowid(), created_at: at, ..new })
}

pub(crate) fn deployment(db: &Connection, repository: i64, id: i64) -> Result<Option<Deployment>> {
    let sql = format!("{SELECT} WHERE d.repository_id = ?1 AND d.id = ?2 AND d.parent IS NULL");
    maybe(db, &sql, params![repository, id], read)
}

pub(crate) fn deployments(
    db: &Connection,
    repository: i64,
    sha: Option<&str>,
    environment: Option<&str>,
    page: Page,
) -> Result<Vec<Deployment>> {
    let sql = format!(
        "{SELECT} WHERE d.repository_id = ?1 AND d.parent IS NULL AND (?2 IS NULL OR d.sha = ?2) \
         AND (?3 IS NULL OR d.environment = ?3) ORDER BY d.id DESC LIMIT ?4 OFFSET ?5"
    );
    rows(db, &sql, params![repository, sha, environment, page.limit(), page.offset()], read)
}

/// Statuses of a deployment, newest first.
pub(crate) fn deployment_statuses(db: &Connection, deployment: i64, page: Page) -> Result<Vec<Deployment>> {
    let sql = format!("{SELECT} WHERE d.parent = ?1 ORDER BY d.id DESC LIMIT ?2 OFFSET ?3");
    rows(db, &sql, params![deployment, page.limit(), page.offset()], read)
}
