//! Repositories, and where their branches stood when the forge last looked.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};

use super::users::read_user;
use super::{maybe, rows};
use crate::clock::now;
use crate::error::Result;
use crate::model::{People, Repository, User};

const SELECT: &str = "SELECT r.id, r.name, r.default_branch, r.description, r.created_at, r.pushed_at, \
     (SELECT count(*) FROM issues i WHERE i.repository_id = r.id AND i.open = 1), u.id, u.login, u.role, \
     r.parent_id, r.archived, r.deleted, \
     (SELECT json_group_array(json_array(c.user_id, c.role)) FROM collaborators c WHERE c.repository_id = r.id), \
     (SELECT json_group_array(m.user_id) FROM team_members m JOIN teams t ON t.id = m.team_id \
      WHERE t.organization_id = r.owner_id), \
     (SELECT json_group_array(DISTINCT i.user_id) FROM issues i JOIN pulls p ON p.issue_id = i.id \
      WHERE i.repository_id = r.id AND p.merged_at IS NOT NULL) FROM repositories r JOIN users u ON u.id = r.owner_id";

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
        parent_id: row.get(10)?,
        archived: row.get(11)?,
        deleted: row.get(12)?,
        people: People { collaborators: list(row, 13)?, members: list(row, 14)?, contributors: list(row, 15)? },
    })
}

/// A list that SQLite wrote as JSON.
fn list<T: serde::de::DeserializeOwned>(row: &Row<'_>, at: usize) -> rusqlite::Result<Vec<T>> {
    let text: String = row.get(at)?;
    Ok(serde_json::from_str(&text).unwrap_or_default())
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
    maybe(db, &format!("{SELECT} WHERE u.login = ?1 AND r.name = ?2 AND r.deleted = 0"), [owner, name], read)
}

pub(crate) fn repository_by_id(db: &Connection, id: i64) -> Result<Repository> {
    Ok(db.query_row(&format!("{SELECT} WHERE r.id = ?1"), [id], read)?)
}

pub(crate) fn repositories(db: &Connection) -> Result<Vec<Repository>> {
    rows(db, &format!("{SELECT} WHERE r.deleted = 0 ORDER BY u.login, r.name"), [], read)
}

/// The repository that had that name before.
pub(crate) fn renamed(db: &Connection, owner: &str, name: &str) -> Result<Option<Repository>> {
    let sql = "SELECT repository_id FROM former_names WHERE owner = ?1 AND name = ?2";
    let id: Option<i64> = maybe(db, sql, [owner, name], |row| row.get(0))?;
    Ok(id.map(|id| repository_by_id(db, id)).transpose()?.filter(|found| !found.deleted))
}

/// The names that a repository had, the newest first.
pub(crate) fn former_names(db: &Connection, id: i64) -> Result<Vec<String>> {
    let sql = "SELECT name FROM former_names WHERE repository_id = ?1 ORDER BY rowid DESC";
    rows(db, sql, [id], |row| row.get(0))
}

/// Gives a repository another name, and remembers the one it had.
pub(crate) fn rename_repository(db: &Connection, id: i64, name: &str) -> Result<()> {
    let old = repository_by_id(db, id)?;
    db.execute(
        "INSERT INTO former_names (owner, name, repository_id) VALUES (?1, ?2, ?3) \
         ON CONFLICT (owner, name) DO UPDATE SET repository_id = excluded.repository_id",
        params![old.owner.login, old.name, id],
    )?;
    db.execute("DELETE FROM former_names WHERE owner = ?1 AND name = ?2", [&old.owner.login, name])?;
    db.execute("UPDATE repositories SET name = ?2 WHERE id = ?1", params![id, name])?;
    Ok(())
}

/// Takes a repository away. Its row stays: pull requests elsewhere may have come from it.
pub(crate) fn delete_repository(db: &Connection, id: i64) -> Result<()> {
    // No name of a repository has a tilde.
    db.execute("UPDATE repositories SET deleted = 1, name = name || '~' || id WHERE id = ?1 AND deleted = 0", [id])?;
    db.execute("DELETE FROM hooks WHERE repository_id = ?1", [id])?;
    db.execute("DELETE FROM branches WHERE repository_id = ?1", [id])?;
    Ok(())
}

pub(crate) fn set_parent(db: &Connection, id: i64, parent: i64) -> Result<()> {
    db.execute("UPDATE repositories SET parent_id = ?2 WHERE id = ?1", params![id, parent])?;
    Ok(())
}

pub(crate) fn set_archived(db: &Connection, id: i64, archived: bool) -> Result<()> {
    db.execute("UPDATE repositories SET archived = ?2 WHERE id = ?1", params![id, archived])?;
    Ok(())
}

pub(crate) fn set_description(db: &Connection, id: i64, text: Option<&str>) -> Result<()> {
    db.execute("UPDATE repositories SET description = ?2 WHERE id = ?1", params![id, text])?;
    Ok(())
}

/// Forks of a repository.
pub(crate) fn forks(db: &Connection, id: i64) -> Result<Vec<Repository>> {
    rows(db, &format!("{SELECT} WHERE r.parent_id = ?1 AND r.deleted = 0 ORDER BY r.id DESC"), [id], read)
}

/// What an owner has of the repositories that share commits with one: a fork of it, its parent, or a sibling.
pub(crate) fn relative(db: &Connection, of: &Repository, owner: &str) -> Result<Option<Repository>> {
    let sql = format!(
        "{SELECT} WHERE u.login = ?1 AND r.deleted = 0 AND r.id <> ?2 \
         AND (r.parent_id = ?2 OR r.id = ?3 OR r.parent_id = ?3) ORDER BY r.id LIMIT 1"
    );
    maybe(db, &sql, params![owner, of.id, of.parent_id], read)
}

/// Repositories with open pull requests that come from this one.
pub(crate) fn dependents(db: &Connection, id: i64) -> Result<Vec<Repository>> {
    let sql = format!(
        "{SELECT} WHERE r.deleted = 0 AND r.id IN (SELECT i.repository_id FROM issues i \
         JOIN pulls p ON p.issue_id = i.id WHERE p.head_repository_id = ?1 AND i.open = 1) ORDER BY r.id"
    );
    rows(db, &sql, [id], read)
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
