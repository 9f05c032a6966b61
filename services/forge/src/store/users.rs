//! Users, their tokens and roles.

use rusqlite::{Connection, Row, params};
use sha2::{Digest, Sha256};

use super::{maybe, rows};
use crate::error::Result;
use crate::model::{Role, User};

/// Stands for the role of an organization, which has none.
pub(super) const ORGANIZATION: &str = "organization";

/// Columns of a user, read by [`read_user`].
pub(super) fn read_user(row: &Row<'_>, at: usize) -> rusqlite::Result<User> {
    let role: String = row.get(at + 2)?;
    let organization = role == ORGANIZATION;
    Ok(User { id: row.get(at)?, login: row.get(at + 1)?, role: role.parse().unwrap_or(Role::None), organization })
}

/// Makes a user, or gives an existing one the role.
pub(crate) fn create_user(db: &Connection, login: &str, role: Role) -> Result<User> {
    db.execute(
        "INSERT INTO users (login, role) VALUES (?1, ?2) ON CONFLICT (login) DO UPDATE SET role = excluded.role",
        params![login, role.as_str()],
    )?;
    user(db, login)?.ok_or(crate::error::Error::NotFound)
}

pub(crate) fn user(db: &Connection, login: &str) -> Result<Option<User>> {
    maybe(db, "SELECT id, login, role FROM users WHERE login = ?1", [login], |row| read_user(row, 0))
}

pub(crate) fn user_by_id(db: &Connection, id: i64) -> Result<User> {
    Ok(db.query_row("SELECT id, login, role FROM users WHERE id = ?1", [id], |row| read_user(row, 0))?)
}

pub(crate) fn users(db: &Connection) -> Result<Vec<User>> {
    rows(db, "SELECT id, login, role FROM users ORDER BY login", [], |row| read_user(row, 0))
}

pub(super) fn hash(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

/// Lets a token stand for a user. Only its hash is kept.
pub(crate) fn put_token(db: &Connection, user: &User, token: &str) -> Result<()> {
    db.execute(
        "INSERT INTO tokens (hash, user_id) VALUES (?1, ?2) ON CONFLICT (hash) DO UPDATE SET user_id = excluded.user_id",
        params![hash(token), user.id],
    )?;
    Ok(())
}

pub(crate) fn user_by_token(db: &Connection, token: &str) -> Result<Option<User>> {
    let sql = "SELECT u.id, u.login, u.role FROM tokens t JOIN users u ON u.id = t.user_id WHERE t.hash = ?1";
    maybe(db, sql, [hash(token)], |row| read_user(row, 0))
}

/// Gives a user a role in one repository that differs from its role elsewhere.
pub(crate) fn put_collaborator(db: &Connection, repository: i64, user: &User, role: Role) -> Result<()> {
    db.execute(
        "INSERT INTO collaborators (repository_id, user_id, role) VALUES (?1, ?2, ?3) \
         ON CONFLICT (repository_id, user_id) DO UPDATE SET role = excluded.role",
        params![repository, user.id, role.as_str()],
    )?;
    Ok(())
}

/// What a user may do in a repository: its owner everything.
pub(crate) fn role_in(db: &Connection, repository: i64, user: &User) -> Result<Role> {
    let sql = "SELECT role FROM collaborators WHERE repository_id = ?1 AND user_id = ?2";
    let own: Option<String> = maybe(db, sql, params![repository, user.id], |row| row.get(0))?;
    if let Some(role) = own.and_then(|role| role.parse().ok()) {
        return Ok(role);
    }
    let sql = "SELECT owner_id FROM repositories WHERE id = ?1";
    let owner: Option<i64> = maybe(db, sql, [repository], |row| row.get(0))?;
    Ok(if owner == Some(user.id) { Role::Admin } else { user.role })
}

/// The forge's own secret of that name, made at first use.
pub(crate) fn secret(db: &Connection, name: &str) -> Result<String> {
    let fresh = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
    db.execute("INSERT OR IGNORE INTO meta (key, value) VALUES (?1, ?2)", params![name, fresh])?;
    Ok(db.query_row("SELECT value FROM meta WHERE key = ?1", [name], |row| row.get(0))?)
}
