//! Repositories, and where their branches stood when the forge last looked.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};

use super::users::read_user;
use super::{maybe, rows};
use crate::clock::now;
use crate::error::Result;
use crate::model::{Repository, User};

const SELECT: &str = "SELECT r.id, r.name, r.default_branch, r.description, r.created_at, r.pushed_at, \
     (SELECT count(*) FROM issues i WHERE i.repository_id = r.id AND i.open = 1), u.id, u.login, u.role \
     FROM repositories r JOIN users u ON u.id = r.owner_id";

fn read(row: &Row<'_>) -> rusqlite::Result<Repository> {
    Ok(Repository {
        id: row.get(0)?,
        name: row.get(1)?,
        default_branch: row.get(2)?,
        description: row.get(3)?,
        created_at: row.get(4)?,
        pushed_at: row.get(5)?,
        open_issues: row.get(6)?,
        owner: read_user(row, 7)?,
    })
}

/// Makes a repository, or finds it.
pub(crate) fn create_repository(db: &Connection, owner: &User, name: &str, default_branch: &str) -> Result<Repository> {
    db.execute(
        "INSERT OR IGNORE INTO repositories (owner_id, name, default_branch, created_at, pushed_at) \
         VALUES (?1, ?2, ?3, ?4, ?4)",
        params![owner.id, name, default_branch, now()],
    )?;
    repository(db, &owner.login, name)?.ok_or(crate::error::Error::NotFound)
}

pub(crate) fn repository(db: &Connection, owner: &str, name: &str) -> Result<Option<Repository>> {
    maybe(db, &format!("{SELECT} WHERE u.login = ?1 AND r.name = ?2"), [owner, name], read)
}

pub(crate) fn repository_by_id(db: &Connection, id: i64) -> Result<Repository> {
    Ok(db.query_row(&format!("{SELECT} WHERE r.id = ?1"), [id], read)?)
}

pub(crate) fn repositories(db: &Connection) -> Result<Vec<Repository>> {
    rows(db, &format!("{SELECT} ORDER BY u.login, r.name"), [], read)
}

pub(crate) fn set_default_branch(db: &Connection, repository: i64, branch: &str) -> Result<()> {
    db.execute("UPDATE repositories SET default_branch = ?2 WHERE id = ?1", params![repository, branch])?;
    Ok(())
}

/// Branches as they were last seen.
pub(crate) fn branches(db: &Connection, repository: i64) -> Result<BTreeMap<String, String>> {
    let sql = "SELECT name, sha FROM branches WHERE repository_id = ?1";
    Ok(rows(db, sql, [repository], |row| Ok((row.get(0)?, row.get(1)?)))?.into_iter().collect())
}

/// Remembers where branches stand; an empty commit forgets one.
pub(crate) fn put_branches(db: &Connection, repository: i64, moved: &[(String, String)]) -> Result<()> {
    for (name, sha) in moved {
        if sha.is_empty() {
            db.execute("DELETE FROM branches WHERE repository_id = ?1 AND name = ?2", params![repository, name])?;
        } else {
            db.execute(
                "INSERT INTO branches (repository_id, name, sha) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (repository_id, name) DO UPDATE SET sha = excluded.sha",
                params![repository, name, sha],
            )?;
        }
    }
    if !moved.is_empty() {
        db.execute("UPDATE repositories SET pushed_at = ?2 WHERE id = ?1", params![repository, now()])?;
    }
    Ok(())
}
