//! Labels of repositories and issues.

use rusqlite::{Connection, Row, params};

use super::{Page, maybe, rows};
use crate::error::Result;
use crate::model::Label;

/// GitHub's grey.
const COLOR: &str = "ededed";

fn read(row: &Row<'_>) -> rusqlite::Result<Label> {
    Ok(Label { id: row.get(0)?, name: row.get(1)?, color: row.get(2)?, description: row.get(3)? })
}

pub(crate) fn labels(db: &Connection, repository: i64, page: Page) -> Result<Vec<Label>> {
    let sql =
        "SELECT id, name, color, description FROM labels WHERE repository_id = ?1 ORDER BY name LIMIT ?2 OFFSET ?3";
    rows(db, sql, params![repository, page.limit(), page.offset()], read)
}

pub(crate) fn label(db: &Connection, repository: i64, name: &str) -> Result<Option<Label>> {
    let sql = "SELECT id, name, color, description FROM labels WHERE repository_id = ?1 AND name = ?2";
    maybe(db, sql, params![repository, name], read)
}

pub(super) fn labels_of(db: &Connection, issue: i64) -> Result<Vec<Label>> {
    let sql = "SELECT n.id, n.name, n.color, n.description FROM issue_labels l JOIN labels n ON n.id = l.label_id \
         WHERE l.issue_id = ?1 ORDER BY n.name";
    rows(db, sql, [issue], read)
}

/// Makes a label; none if there is one of that name.
pub(crate) fn create_label(
    db: &Connection,
    repository: i64,
    name: &str,
    color: Option<&str>,
    description: Option<&str>,
) -> Result<Option<Label>> {
    if label(db, repository, name)?.is_some() {
        return Ok(None);
    }
    db.execute(
        "INSERT INTO labels (repository_id, name, color, description) VALUES (?1, ?2, ?3, ?4)",
        params![repository, name, color.unwrap_or(COLOR), description],
    )?;
    label(db, repository, name)
}

pub(crate) fn update_label(db: &Connection, label: &Label) -> Result<()> {
    let sql = "UPDATE labels SET name = ?2, color = ?3, description = ?4 WHERE id = ?1";
    db.execute(sql, params![label.id, label.name, label.color, label.description])?;
    Ok(())
}

/// Puts a label on an issue, and makes it if the repository has none of that name. None if it was there already.
pub(crate) fn add_label(db: &Connection, repository: i64, issue: i64, name: &str) -> Result<Option<Label>> {
    create_label(db, repository, name, None, None)?;
    let Some(label) = label(db, repository, name)? else { return Ok(None) };
    let sql = "INSERT OR IGNORE INTO issue_labels (issue_id, label_id) VALUES (?1, ?2)";
    let added = db.execute(sql, params![issue, label.id])? > 0;
    Ok(added.then_some(label))
}

/// Takes a label from an issue. None if it was not there.
pub(crate) fn remove_label(db: &Connection, repository: i64, issue: i64, name: &str) -> Result<Option<Label>> {
    let Some(label) = label(db, repository, name)? else { return Ok(None) };
    let sql = "DELETE FROM issue_labels WHERE issue_id = ?1 AND label_id = ?2";
    let removed = db.execute(sql, params![issue, label.id])? > 0;
    Ok(removed.then_some(label))
}

/// Makes these the labels of an issue. Tells which were added and which were taken.
pub(crate) fn set_labels(
    db: &Connection,
    repository: i64,
    issue: i64,
    names: &[String],
) -> Result<(Vec<Label>, Vec<Label>)> {
    let mut removed = Vec::new();
    for old in labels_of(db, issue)? {
        if !names.iter().any(|name| name.eq_ignore_ascii_case(&old.name)) {
            removed.extend(remove_label(db, repository, issue, &old.name)?);
        }
    }
    let mut added = Vec::new();
    for name in names {
        added.extend(add_label(db, repository, issue, name)?);
    }
    Ok((added, removed))
}
