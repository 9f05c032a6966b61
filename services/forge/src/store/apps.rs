//! GitHub Apps, where they are installed, and the tokens of their installations.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row, params};

use super::users::{hash, read_user};
use super::{maybe, repositories, rows};
use crate::clock::now;
use crate::error::{Error, Result};
use crate::model::{Repository, Role, User};

/// `checks: write` and the like.
pub(crate) type Permissions = BTreeMap<String, String>;

/// A GitHub App.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) id: i64,
    pub(crate) slug: String,
    pub(crate) public_key: String,
    pub(crate) bot: User,
    pub(crate) owner: User,
    pub(crate) permissions: Permissions,
    pub(crate) events: Vec<String>,
    pub(crate) created_at: String,
}

/// An App that is to be registered.
#[derive(Debug, Clone)]
pub(crate) struct NewApp {
    pub(crate) id: i64,
    pub(crate) slug: String,
    pub(crate) public_key: String,
    pub(crate) webhook_secret: Option<String>,
    pub(crate) owner: User,
    pub(crate) permissions: Permissions,
    pub(crate) events: Vec<String>,
}

/// An App at an owner's repositories.
#[derive(Debug, Clone)]
pub(crate) struct Installation {
    pub(crate) id: i64,
    pub(crate) app: i64,
    pub(crate) account: User,
    /// The repositories it is limited to; all of the account without.
    pub(crate) selected: Option<Vec<i64>>,
    pub(crate) created_at: String,
}

/// What the token of an installation allows.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) installation: Installation,
    /// A further limit of this token.
    only: Option<Vec<i64>>,
}

impl Installation {
    /// Whether it is for that repository.
    pub(crate) fn covers(&self, repository: &Repository) -> bool {
        self.account.id == repository.owner.id
            && self.selected.as_ref().is_none_or(|selected| selected.contains(&repository.id))
    }
}

impl Grant {
    /// Whether the token is for that repository.
    pub(crate) fn covers(&self, repository: &Repository) -> bool {
        self.installation.covers(repository) && self.only.as_ref().is_none_or(|only| only.contains(&repository.id))
    }
}

const APP: &str = "SELECT a.id, a.slug, a.public_key, a.permissions, a.events, a.created_at, \
     b.id, b.login, b.role, o.id, o.login, o.role FROM apps a JOIN users b ON b.id = a.user_id \
     JOIN users o ON o.id = a.owner_id";

fn json<T: serde::de::DeserializeOwned + Default>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_default()
}

fn read(row: &Row<'_>) -> rusqlite::Result<App> {
    Ok(App {
        id: row.get(0)?,
        slug: row.get(1)?,
        public_key: row.get(2)?,
        permissions: json(&row.get::<_, String>(3)?),
        events: json(&row.get::<_, String>(4)?),
        created_at: row.get(5)?,
        bot: read_user(row, 6)?,
        owner: read_user(row, 9)?,
    })
}

/// Registers an App, or changes the one of that id. Its bot becomes a user.
pub(crate) fn put_app(db: &Connection, new: &NewApp) -> Result<App> {
    let login = format!("{}[bot]", new.slug);
    let bot = match super::user(db, &login)? {
        Some(bot) => bot,
        None => super::create_user(db, &login, Role::Write)?,
    };
    db.execute(
        "INSERT INTO apps (id, slug, public_key, webhook_secret, user_id, owner_id, permissions, events, created_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (id) DO UPDATE SET slug = excluded.slug, \
         public_key = excluded.public_key, webhook_secret = excluded.webhook_secret, user_id = excluded.user_id, \
         owner_id = excluded.owner_id, permissions = excluded.permissions, events = excluded.events",
        params![
            new.id,
            new.slug,
            new.public_key,
            new.webhook_secret,
            bot.id,
            new.owner.id,
            serde_json::to_string(&new.permissions)?,
            serde_json::to_string(&new.events)?,
            now()
        ],
    )?;
    app(db, new.id)?.ok_or(Error::NotFound)
}

pub(crate) fn app(db: &Connection, id: i64) -> Result<Option<App>> {
    maybe(db, &format!("{APP} WHERE a.id = ?1"), [id], read)
}

/// The App of a bot.
pub(crate) fn app_of_bot(db: &Connection, bot: i64) -> Result<Option<App>> {
    maybe(db, &format!("{APP} WHERE a.user_id = ?1"), [bot], read)
}

/// Installs an App for an owner, or changes what it is installed for.
pub(crate) fn install(db: &Connection, app: i64, account: &User, selected: Option<&[i64]>) -> Result<i64> {
    db.execute(
        "INSERT INTO installations (app_id, account_id, selected, created_at) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (app_id, account_id) DO UPDATE SET selected = excluded.selected",
        params![app, account.id, selected.is_some(), now()],
    )?;
    let sql = "SELECT id FROM installations WHERE app_id = ?1 AND account_id = ?2";
    let id: i64 = db.query_row(sql, [app, account.id], |row| row.get(0))?;
    db.execute("DELETE FROM installation_repositories WHERE installation_id = ?1", [id])?;
    for repository in selected.unwrap_or_default() {
        db.execute("INSERT OR IGNORE INTO installation_repositories VALUES (?1, ?2)", [id, *repository])?;
    }
    Ok(id)
}

const INSTALLATION: &str = "SELECT i.id, i.app_id, i.selected, i.created_at, u.id, u.login, u.role \
     FROM installations i JOIN users u ON u.id = i.account_id";

fn read_installation(row: &Row<'_>) -> rusqlite::Result<(Installation, bool)> {
    let (id, app, created_at) = (row.get(0)?, row.get(1)?, row.get(3)?);
    Ok((Installation { id, app, account: read_user(row, 4)?, selected: None, created_at }, row.get(2)?))
}

fn complete(db: &Connection, (mut found, selected): (Installation, bool)) -> Result<Installation> {
    if selected {
        let sql = "SELECT repository_id FROM installation_repositories WHERE installation_id = ?1";
        found.selected = Some(rows(db, sql, [found.id], |row| row.get(0))?);
    }
    Ok(found)
}

/// Where an App is installed.
pub(crate) fn installations(db: &Connection, app: i64) -> Result<Vec<Installation>> {
    let sql = format!("{INSTALLATION} WHERE i.app_id = ?1 ORDER BY i.id");
    rows(db, &sql, [app], read_installation)?.into_iter().map(|one| complete(db, one)).collect()
}

pub(crate) fn installation(db: &Connection, id: i64) -> Result<Option<Installation>> {
    let found = maybe(db, &format!("{INSTALLATION} WHERE i.id = ?1"), [id], read_installation)?;
    found.map(|one| complete(db, one)).transpose()
}

/// The repositories that an installation is for.
pub(crate) fn installed(db: &Connection, installation: &Installation) -> Result<Vec<Repository>> {
    Ok(repositories(db)?.into_iter().filter(|one| installation.covers(one)).collect())
}

/// Keeps a token of an installation until that time. Only its hash is kept; those that are over go.
pub(crate) fn put_installation_token(
    db: &Connection,
    installation: i64,
    token: &str,
    only: Option<&[i64]>,
    permissions: &Permissions,
    (now, expires): (i64, i64),
) -> Result<()> {
    // A day's grace, so that what is over is told from what never was.
    db.execute("DELETE FROM installation_tokens WHERE expires < ?1", [now - 86_400])?;
    db.execute(
        "INSERT INTO installation_tokens (hash, installation_id, repositories, permissions, expires) \
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            hash(token),
            installation,
            only.map(serde_json::to_string).transpose()?,
            serde_json::to_string(permissions)?,
            expires
        ],
    )?;
    Ok(())
}

/// Who a token of an installation stands for and what it allows, unless it is over.
pub(crate) fn grant_of(db: &Connection, token: &str, now: i64) -> Result<Option<(User, Grant)>> {
    let sql = "SELECT installation_id, repositories FROM installation_tokens WHERE hash = ?1 AND expires > ?2";
    let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<String>>(1)?));
    let Some((id, only)) = maybe(db, sql, params![hash(token), now], read)? else { return Ok(None) };
    let Some(installation) = installation(db, id)? else { return Ok(None) };
    let Some(app) = app(db, installation.app)? else { return Ok(None) };
    let only = only.map(|only| json(&only));
    Ok(Some((app.bot, Grant { installation, only })))
}
