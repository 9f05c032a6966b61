//! Organizations, their teams and members.

use rusqlite::{Connection, Row, params};

use super::users::read_user;
use super::{Page, maybe, rows};
use crate::clock::now;
use crate::error::{Error, Result};
use crate::model::{Team, User};

fn read(row: &Row<'_>) -> rusqlite::Result<Team> {
    Ok(Team { id: row.get(0)?, slug: row.get(1)? })
}

/// Makes a user an organization with a team of exactly these members.
pub(crate) fn put_team(db: &Connection, organization: &User, name: &str, members: &[User]) -> Result<()> {
    let slug = slug(name);
    if slug.is_empty() {
        return Err(Error::invalid(format!("{name:?} is no name of a team")));
    }
    db.execute("UPDATE users SET role = ?2 WHERE id = ?1", params![organization.id, super::users::ORGANIZATION])?;
    db.execute(
        "INSERT OR IGNORE INTO teams (organization_id, slug, name, created_at) VALUES (?1, ?2, ?3, ?4)",
        params![organization.id, slug, name, now()],
    )?;
    let team = team(db, &organization.login, &slug)?.ok_or(Error::NotFound)?;
    db.execute("DELETE FROM team_members WHERE team_id = ?1", [team.id])?;
    for member in members {
        let sql = "INSERT OR IGNORE INTO team_members (team_id, user_id, role) VALUES (?1, ?2, 'member')";
        db.execute(sql, params![team.id, member.id])?;
    }
    Ok(())
}

/// GitHub's form of a team's name in addresses.
fn slug(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-")
}

pub(crate) fn team(db: &Connection, organization: &str, slug: &str) -> Result<Option<Team>> {
    let sql = "SELECT t.id, t.slug FROM teams t JOIN users u ON u.id = t.organization_id \
         WHERE u.login = ?1 AND t.slug = ?2";
    maybe(db, sql, [organization, slug], read)
}

/// The role of a member of a team: `member` or `maintainer`.
pub(crate) fn team_role(db: &Connection, team: i64, user: i64) -> Result<Option<String>> {
    let sql = "SELECT role FROM team_members WHERE team_id = ?1 AND user_id = ?2";
    maybe(db, sql, params![team, user], |row| row.get(0))
}

pub(crate) fn team_members(db: &Connection, team: i64, page: Page) -> Result<Vec<User>> {
    let sql = "SELECT u.id, u.login, u.role FROM team_members m JOIN users u ON u.id = m.user_id \
         WHERE m.team_id = ?1 ORDER BY u.login LIMIT ?2 OFFSET ?3";
    rows(db, sql, params![team, page.limit(), page.offset()], |row| read_user(row, 0))
}
