//! Issues, of which pull requests are a kind.

use rusqlite::{Connection, Row, ToSql, params};

use super::users::{read_user, user_by_id};
use super::{Page, labels, maybe, rows};
use crate::clock::now;
use crate::error::Result;
use crate::model::{Fork, Issue, Pull, User};

const SELECT: &str = "SELECT i.id, i.number, i.title, i.body, i.open, i.created_at, i.updated_at, i.closed_at, \
     i.closed_by, (SELECT count(*) FROM comments c WHERE c.issue_id = i.id), u.id, u.login, u.role, \
     p.head_ref, p.head_sha, p.base_ref, p.base_sha, p.draft, p.merged_at, p.merged_by, p.merge_commit_sha, \
     p.merging_sha, p.merging_by, p.head_repository_id, p.head_owner_id \
     FROM issues i JOIN users u ON u.id = i.user_id LEFT JOIN pulls p ON p.issue_id = i.id";

/// Which issues, in which order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) open: Option<bool>,
    pub(crate) pulls_only: bool,
    pub(crate) labels: Vec<String>,
    pub(crate) creator: Option<String>,
    pub(crate) head_ref: Option<String>,
    /// Whose the head is; an empty name is the repository's own owner.
    pub(crate) head_owner: Option<String>,
    pub(crate) base_ref: Option<String>,
    pub(crate) ascending: bool,
    pub(crate) by_update: bool,
}

struct Raw {
    issue: Issue,
    closed_by: Option<i64>,
    merged_by: Option<i64>,
    merging: Option<(String, i64)>,
    fork: Option<(i64, i64)>,
}

fn read(row: &Row<'_>) -> rusqlite::Result<Raw> {
    let head_ref: Option<String> = row.get(13)?;
    let pull = match head_ref {
        None => None,
        Some(head_ref) => Some(Pull {
            head_ref,
            fork: None,
            head_sha: row.get(14)?,
            base_ref: row.get(15)?,
            base_sha: row.get(16)?,
            draft: row.get(17)?,
            merged_at: row.get(18)?,
            merged_by: None,
            merge_commit_sha: row.get(20)?,
            merging: None,
        }),
    };
    let merging: (Option<String>, Option<i64>) = (row.get(21)?, row.get(22)?);
    let issue = Issue {
        id: row.get(0)?,
        number: row.get(1)?,
        title: row.get(2)?,
        body: row.get(3)?,
        open: row.get(4)?,
        created_at: row.get(5)?,
        updated_at: row.get(6)?,
        closed_at: row.get(7)?,
        closed_by: None,
        comments: row.get(9)?,
        user: read_user(row, 10)?,
        labels: Vec::new(),
        pull,
    };
    let fork: (Option<i64>, Option<i64>) = (row.get(23)?, row.get(24)?);
    let (merging, fork) = (merging.0.zip(merging.1), fork.0.zip(fork.1));
    Ok(Raw { issue, closed_by: row.get(8)?, merged_by: row.get(19)?, merging, fork })
}

/// Adds what a join would multiply.
fn complete(db: &Connection, raw: Raw) -> Result<Issue> {
    let mut issue = raw.issue;
    issue.labels = labels::labels_of(db, issue.id)?;
    issue.closed_by = raw.closed_by.map(|id| user_by_id(db, id)).transpose()?;
    if let Some(pull) = &mut issue.pull {
        if let Some((id, owner)) = raw.fork {
            let repository = Some(super::repository_by_id(db, id)?).filter(|found| !found.deleted).map(Box::new);
            pull.fork = Some(Fork { id, owner: user_by_id(db, owner)?, repository });
        }
        pull.merged_by = raw.merged_by.map(|id| user_by_id(db, id)).transpose()?;
        pull.merging =
            raw.merging.map(|(sha, id)| Ok::<_, crate::error::Error>((sha, user_by_id(db, id)?))).transpose()?;
    }
    Ok(issue)
}

pub(crate) fn issue(db: &Connection, repository: i64, number: i64) -> Result<Option<Issue>> {
    let sql = format!("{SELECT} WHERE i.repository_id = ?1 AND i.number = ?2");
    maybe(db, &sql, params![repository, number], read)?.map(|raw| complete(db, raw)).transpose()
}

/// A page of issues, and one more if there is a next page.
pub(crate) fn issues(db: &Connection, repository: i64, filter: &Filter, page: Page) -> Result<Vec<Issue>> {
    let mut sql = format!("{SELECT} WHERE i.repository_id = ?");
    let mut values: Vec<Box<dyn ToSql>> = vec![Box::new(repository)];
    let mut and = |condition: &str, value: Box<dyn ToSql>| {
        sql.push_str(" AND ");
        sql.push_str(condition);
        values.push(value);
    };
    if let Some(open) = filter.open {
        and("i.open = ?", Box::new(open));
    }
    if filter.pulls_only {
        and("p.issue_id IS NOT NULL AND ?", Box::new(true));
    }
    for label in &filter.labels {
        let condition = "EXISTS (SELECT 1 FROM issue_labels l JOIN labels n ON n.id = l.label_id \
             WHERE l.issue_id = i.id AND n.name = ?)";
        and(condition, Box::new(label.clone()));
    }
    for (condition, value) in
        [("u.login = ?", &filter.creator), ("p.head_ref = ?", &filter.head_ref), ("p.base_ref = ?", &filter.base_ref)]
    {
        if let Some(value) = value {
            and(condition, Box::new(value.clone()));
        }
    }
    match filter.head_owner.as_deref() {
        None => {}
        Some("") => and("p.head_owner_id IS NULL AND ?", Box::new(true)),
        Some(owner) => {
            and("p.head_owner_id = (SELECT id FROM users WHERE login = ?)", Box::new(owner.to_owned()));
        }
    }
    let column = if filter.by_update { "i.updated_at" } else { "i.created_at" };
    let order = if filter.ascending { "ASC" } else { "DESC" };
    sql.push_str(&format!(" ORDER BY {column} {order}, i.number {order} LIMIT ? OFFSET ?"));
    values.push(Box::new(page.limit()));
    values.push(Box::new(page.offset()));
    let found = rows(db, &sql, rusqlite::params_from_iter(values), read)?;
    found.into_iter().map(|raw| complete(db, raw)).collect()
}

/// Pull requests whose head is that commit.
pub(crate) fn issues_of_sha(db: &Connection, repository: i64, sha: &str) -> Result<Vec<Issue>> {
    let sql = format!("{SELECT} WHERE i.repository_id = ?1 AND p.head_sha = ?2 ORDER BY i.number");
    rows(db, &sql, params![repository, sha], read)?.into_iter().map(|raw| complete(db, raw)).collect()
}

/// Makes an issue under the next number.
pub(crate) fn create_issue(
    db: &Connection,
    repository: i64,
    user: &User,
    title: &str,
    body: Option<&str>,
) -> Result<(i64, i64)> {
    let sql = "SELECT coalesce(max(number), 0) + 1 FROM issues WHERE repository_id = ?1";
    let number: i64 = db.query_row(sql, [repository], |row| row.get(0))?;
    db.execute(
        "INSERT INTO issues (repository_id, number, title, body, user_id, created_at, updated_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
        params![repository, number, title, body, user.id, now()],
    )?;
    Ok((db.last_insert_rowid(), number))
}

pub(crate) fn edit_issue(db: &Connection, id: i64, title: &str, body: Option<&str>) -> Result<()> {
    let sql = "UPDATE issues SET title = ?2, body = ?3, updated_at = ?4 WHERE id = ?1";
    db.execute(sql, params![id, title, body, now()])?;
    Ok(())
}

pub(crate) fn close_issue(db: &Connection, id: i64, by: &User) -> Result<()> {
    let sql = "UPDATE issues SET open = 0, closed_at = ?2, updated_at = ?2, closed_by = ?3 WHERE id = ?1";
    db.execute(sql, params![id, now(), by.id])?;
    Ok(())
}

pub(crate) fn reopen_issue(db: &Connection, id: i64) -> Result<()> {
    let sql = "UPDATE issues SET open = 1, closed_at = NULL, closed_by = NULL, updated_at = ?2 WHERE id = ?1";
    db.execute(sql, params![id, now()])?;
    Ok(())
}

/// Says that something on the issue changed.
pub(crate) fn touch(db: &Connection, id: i64) -> Result<()> {
    db.execute("UPDATE issues SET updated_at = ?2 WHERE id = ?1", params![id, now()])?;
    Ok(())
}
