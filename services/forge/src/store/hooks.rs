//! Webhooks and their deliveries. A delivery without an outcome is still to be sent.

use rusqlite::{Connection, Row, params};

use super::{Page, maybe, rows};
use crate::clock::now;
use crate::error::{Error, Result};
use crate::model::{Delivery, Hook, Outcome};

const SELECT: &str =
    "SELECT id, url, secret, form, events, active, created_at, updated_at, repository_id, app_id FROM hooks";
const SELECT_DELIVERY: &str = "SELECT d.id, d.hook_id, d.guid, d.event, d.action, d.payload, d.redelivery, \
     d.delivered_at, d.outcome, coalesce(d.repository_id, h.repository_id), d.installation_id FROM deliveries d JOIN hooks h ON h.id = d.hook_id";

/// A webhook to be made or changed.
#[derive(Debug, Clone)]
pub(crate) struct NewHook {
    pub(crate) url: String,
    pub(crate) secret: Option<String>,
    pub(crate) form: bool,
    pub(crate) events: Vec<String>,
    pub(crate) active: bool,
}

fn read(row: &Row<'_>) -> rusqlite::Result<Hook> {
    let events: String = row.get(4)?;
    Ok(Hook {
        id: row.get(0)?,
        url: row.get(1)?,
        secret: row.get(2)?,
        form: row.get(3)?,
        events: serde_json::from_str(&events).unwrap_or_default(),
        active: row.get(5)?,
        created_at: row.get(6)?,
        updated_at: row.get(7)?,
        repository_id: row.get(8)?,
        app_id: row.get(9)?,
    })
}

fn read_delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    let outcome: Option<String> = row.get(8)?;
    Ok(Delivery {
        id: row.get(0)?,
        guid: row.get(2)?,
        event: row.get(3)?,
        action: row.get(4)?,
        payload: row.get(5)?,
        redelivery: row.get(6)?,
        delivered_at: row.get(7)?,
        outcome: outcome.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
        repository_id: row.get(9)?,
        installation_id: row.get(10)?,
    })
}

pub(crate) fn hooks(db: &Connection, repository: i64, page: Page) -> Result<Vec<Hook>> {
    let sql = format!("{SELECT} WHERE repository_id = ?1 ORDER BY id LIMIT ?2 OFFSET ?3");
    rows(db, &sql, params![repository, page.limit(), page.offset()], read)
}

pub(crate) fn hook(db: &Connection, repository: i64, id: i64) -> Result<Option<Hook>> {
    maybe(db, &format!("{SELECT} WHERE repository_id = ?1 AND id = ?2"), params![repository, id], read)
}

pub(crate) fn create_hook(db: &Connection, repository: i64, key: Option<&str>, new: &NewHook) -> Result<i64> {
    let events = serde_json::to_string(&new.events)?;
    db.execute(
        "INSERT INTO hooks (repository_id, key, url, secret, form, events, active, created_at, updated_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)",
        params![repository, key, new.url, new.secret, new.form, events, new.active, now()],
    )?;
    Ok(db.last_insert_rowid())
}

/// Makes the hook of that key, or brings it up to date. True if it is new.
pub(crate) fn put_hook(db: &Connection, repository: i64, key: &str, new: &NewHook) -> Result<(i64, bool)> {
    let sql = "SELECT id FROM hooks WHERE repository_id = ?1 AND key = ?2";
    match maybe(db, sql, params![repository, key], |row| row.get(0))? {
        Some(id) => update_hook(db, id, new).map(|()| (id, false)),
        None => create_hook(db, repository, Some(key), new).map(|id| (id, true)),
    }
}

pub(crate) fn update_hook(db: &Connection, id: i64, new: &NewHook) -> Result<()> {
    db.execute(
        "UPDATE hooks SET url = ?2, secret = ?3, form = ?4, events = ?5, active = ?6, updated_at = ?7 WHERE id = ?1",
        params![id, new.url, new.secret, new.form, serde_json::to_string(&new.events)?, new.active, now()],
    )?;
    Ok(())
}

pub(crate) fn delete_hook(db: &Connection, id: i64) -> Result<()> {
    db.execute("DELETE FROM hooks WHERE id = ?1", [id])?;
    Ok(())
}

/// Removes the hook of that key; the webhook of the app sends what it has not.
pub(crate) fn hand_over_hook(db: &Connection, repository: i64, key: &str, app: i64) -> Result<()> {
    let sql = "SELECT id FROM hooks WHERE repository_id = ?1 AND key = ?2";
    let Some(old) = maybe(db, sql, params![repository, key], |row| row.get::<_, i64>(0))? else { return Ok(()) };
    let new = app_hook(db, app)?.ok_or(Error::NotFound)?;
    db.execute(
        "UPDATE deliveries SET hook_id = ?2, repository_id = ?3 WHERE hook_id = ?1 AND outcome IS NULL",
        params![old, new.id, repository],
    )?;
    delete_hook(db, old)
}

/// The webhook of an app.
pub(crate) fn app_hook(db: &Connection, app: i64) -> Result<Option<Hook>> {
    maybe(db, &format!("{SELECT} WHERE app_id = ?1"), [app], read)
}

/// The webhooks of all apps.
pub(crate) fn app_hooks(db: &Connection) -> Result<Vec<Hook>> {
    rows(db, &format!("{SELECT} WHERE app_id IS NOT NULL ORDER BY id"), [], read)
}

/// Makes the webhook of an app, or brings it up to date.
pub(crate) fn put_app_hook(db: &Connection, app: i64, new: &NewHook) -> Result<i64> {
    if let Some(hook) = app_hook(db, app)? {
        return update_hook(db, hook.id, new).map(|()| hook.id);
    }
    db.execute(
        "INSERT INTO hooks (app_id, url, secret, form, events, active, created_at, updated_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
        params![app, new.url, new.secret, new.form, serde_json::to_string(&new.events)?, new.active, now()],
    )?;
    Ok(db.last_insert_rowid())
}

/// Queues an event of a repository for one hook.
pub(crate) fn enqueue(
    db: &Connection,
    hook: &Hook,
    repository: i64,
    installation: Option<i64>,
    (event, action): (&str, Option<&str>),
    payload: &str,
) -> Result<()> {
    let guid = uuid::Uuid::new_v4().to_string();
    db.execute(
        "INSERT INTO deliveries (hook_id, guid, event, action, payload, redelivery, delivered_at, repository_id, \
         installation_id) VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, ?8)",
        params![hook.id, guid, event, action, payload, now(), repository, installation],
    )?;
    Ok(())
}

/// Queues a delivery again, under the same GUID.
pub(crate) fn redeliver(db: &Connection, delivery: &Delivery) -> Result<()> {
    db.execute(
        "INSERT INTO deliveries (hook_id, guid, event, action, payload, redelivery, delivered_at, repository_id, \
         installation_id) SELECT hook_id, guid, event, action, payload, 1, ?2, repository_id, installation_id \
         FROM deliveries WHERE id = ?1",
        params![delivery.id, now()],
    )?;
    Ok(())
}

/// Hooks that have something to send.
pub(crate) fn waiting_hooks(db: &Connection) -> Result<Vec<i64>> {
    rows(db, "SELECT DISTINCT hook_id FROM deliveries WHERE outcome IS NULL", [], |row| row.get(0))
}

/// The oldest delivery that a hook still has to send, and where; none of those that are held back.
pub(crate) fn next_delivery(db: &Connection, hook: i64, back: &[i64]) -> Result<Option<(Delivery, Hook)>> {
    let sql = format!(
        "{SELECT_DELIVERY} WHERE d.hook_id = ?1 AND d.outcome IS NULL \
         AND d.id NOT IN (SELECT value FROM json_each(?2)) ORDER BY d.id LIMIT 1"
    );
    let back = serde_json::to_string(back)?;
    let Some(delivery) = maybe(db, &sql, params![hook, back], read_delivery)? else { return Ok(None) };
    let hook = maybe(db, &format!("{SELECT} WHERE id = ?1"), [hook], read)?;
    Ok(hook.map(|hook| (delivery, hook)))
}

/// Writes down how a delivery went.
pub(crate) fn record(db: &Connection, delivery: i64, outcome: &Outcome) -> Result<()> {
    let sql = "UPDATE deliveries SET outcome = ?2, delivered_at = ?3 WHERE id = ?1";
    db.execute(sql, params![delivery, serde_json::to_string(outcome)?, now()])?;
    Ok(())
}

/// Deliveries that were attempted, newest first, older than `before`.
pub(crate) fn deliveries(db: &Connection, hook: i64, before: Option<i64>, page: Page) -> Result<Vec<Delivery>> {
    let sql = format!(
        "{SELECT_DELIVERY} WHERE d.hook_id = ?1 AND d.outcome IS NOT NULL AND (?2 IS NULL OR d.id < ?2) \
         ORDER BY d.id DESC LIMIT ?3 OFFSET ?4"
    );
    rows(db, &sql, params![hook, before, page.limit(), page.offset()], read_delivery)
}

pub(crate) fn delivery(db: &Connection, hook: i64, id: i64) -> Result<Option<Delivery>> {
    let sql = format!("{SELECT_DELIVERY} WHERE d.hook_id = ?1 AND d.id = ?2 AND d.outcome IS NOT NULL");
    maybe(db, &sql, params![hook, id], read_delivery)
}
