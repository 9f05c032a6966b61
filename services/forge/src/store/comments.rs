//! Comments, reactions to them, and reviews.

use rusqlite::{Connection, Row, params};

use super::users::read_user;
use super::{Page, maybe, rows};
use crate::clock::now;
use crate::error::Result;
use crate::model::{Comment, Reaction, Review, User};

const SELECT: &str = "SELECT c.id, i.number, c.body, c.created_at, c.updated_at, u.id, u.login, u.role \
     FROM comments c JOIN users u ON u.id = c.user_id JOIN issues i ON i.id = c.issue_id";

fn read(row: &Row<'_>) -> rusqlite::Result<Comment> {
    Ok(Comment {
        id: row.get(0)?,
        number: row.get(1)?,
        body: row.get(2)?,
        created_at: row.get(3)?,
        updated_at: row.get(4)?,
        user: read_user(row, 5)?,
        reactions: Vec::new(),
    })
}

fn complete(db: &Connection, mut comment: Comment) -> Result<Comment> {
    let sql = "SELECT content, count(*) FROM reactions WHERE comment_id = ?1 GROUP BY content ORDER BY content";
    comment.reactions = rows(db, sql, [comment.id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(comment)
}

pub(crate) fn comment(db: &Connection, repository: i64, id: i64) -> Result<Option<Comment>> {
    let sql = format!("{SELECT} WHERE i.repository_id = ?1 AND c.id = ?2");
    maybe(db, &sql, params![repository, id], read)?.map(|comment| complete(db, comment)).transpose()
}

/// Comments of an issue, oldest first, changed at or after `since`.
pub(crate) fn comments(db: &Connection, issue: i64, since: Option<&str>, page: Page) -> Result<Vec<Comment>> {
    let sql = format!("{SELECT} WHERE c.issue_id = ?1 AND c.updated_at >= ?2 ORDER BY c.id LIMIT ?3 OFFSET ?4");
    let found = rows(db, &sql, params![issue, since.unwrap_or(""), page.limit(), page.offset()], read)?;
    found.into_iter().map(|comment| complete(db, comment)).collect()
}

pub(crate) fn create_comment(db: &Connection, issue: i64, user: &User, body: &str) -> Result<i64> {
    db.execute(
        "INSERT INTO comments (issue_id, user_id, body, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?4)",
        params![issue, user.id, body, now()],
    )?;
    let id = db.last_insert_rowid();
    super::touch(db, issue)?;
    Ok(id)
}

pub(crate) fn edit_comment(db: &Connection, id: i64, body: &str) -> Result<()> {
    db.execute("UPDATE comments SET body = ?2, updated_at = ?3 WHERE id = ?1", params![id, body, now()])?;
    Ok(())
}

pub(crate) fn delete_comment(db: &Connection, id: i64) -> Result<()> {
    db.execute("DELETE FROM comments WHERE id = ?1", [id])?;
    Ok(())
}

/// Adds a reaction; true if it is new.
pub(crate) fn react(db: &Connection, comment: i64, user: &User, content: &str) -> Result<(Reaction, bool)> {
    let sql = "INSERT OR IGNORE INTO reactions (comment_id, user_id, content, created_at) VALUES (?1, ?2, ?3, ?4)";
    let new = db.execute(sql, params![comment, user.id, content, now()])? > 0;
    let sql = "SELECT id, created_at FROM reactions WHERE comment_id = ?1 AND user_id = ?2 AND content = ?3";
    let (id, created_at) =
        db.query_row(sql, params![comment, user.id, content], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((Reaction { id, user: user.clone(), content: content.to_owned(), created_at }, new))
}

pub(crate) fn reactions(db: &Connection, comment: i64, page: Page) -> Result<Vec<Reaction>> {
    let sql = "SELECT r.id, r.content, r.created_at, u.id, u.login, u.role FROM reactions r \
         JOIN users u ON u.id = r.user_id WHERE r.comment_id = ?1 ORDER BY r.id LIMIT ?2 OFFSET ?3";
    rows(db, sql, params![comment, page.limit(), page.offset()], |row| {
        Ok(Reaction { id: row.get(0)?, content: row.get(1)?, created_at: row.get(2)?, user: read_user(row, 3)? })
    })
}

pub(crate) fn create_review(
    db: &Connection,
    issue: i64,
    user: &User,
    state: &str,
    body: &str,
    commit: &str,
) -> Result<Review> {
    let at = now();
    db.execute(
        "INSERT INTO reviews (issue_id, user_id, state, body, commit_id, submitted_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![issue, user.id, state, body, commit, at],
    )?;
    let id = db.last_insert_rowid();
    super::touch(db, issue)?;
    Ok(Review {
        id,
        user: user.clone(),
        state: state.to_owned(),
        body: body.to_owned(),
        commit_id: commit.to_owned(),
        submitted_at: at,
    })
}

pub(crate) fn reviews(db: &Connection, issue: i64, page: Page) -> Result<Vec<Review>> {
    let sql = "SELECT r.id, r.state, r.body, r.commit_id, r.submitted_at, u.id, u.login, u.role FROM reviews r \
         JOIN users u ON u.id = r.user_id WHERE r.issue_id = ?1 ORDER BY r.id LIMIT ?2 OFFSET ?3";
    rows(db, sql, params![issue, page.limit(), page.offset()], |row| {
        Ok(Review {
            id: row.get(0)?,
            state: row.get(1)?,
            body: row.get(2)?,
            commit_id: row.get(3)?,
            submitted_at: row.get(4)?,
            user: read_user(row, 5)?,
        })
    })
}
