//! What pull requests have more than issues.

use rusqlite::{Connection, params};

use super::Page;
use super::issues::{Filter, issues};
use crate::clock::now;
use crate::error::Result;
use crate::model::{Issue, Pull, User};

pub(crate) fn create_pull(db: &Connection, issue: i64, pull: &Pull) -> Result<()> {
    db.execute(
        "INSERT INTO pulls (issue_id, head_ref, head_sha, base_ref, base_sha, draft, head_repository_id, \
         head_owner_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            issue,
            pull.head_ref,
            pull.head_sha,
            pull.base_ref,
            pull.base_sha,
            pull.draft,
            pull.fork.as_ref().map(|fork| fork.id),
            pull.fork.as_ref().map(|fork| fork.owner.id)
        ],
    )?;
    Ok(())
}

/// Every open pull request of a repository.
pub(crate) fn open_pulls(db: &Connection, repository: i64) -> Result<Vec<Issue>> {
    let filter = Filter { open: Some(true), pulls_only: true, ascending: true, ..Filter::default() };
    issues(db, repository, &filter, Page::ALL)
}

pub(crate) fn set_head(db: &Connection, issue: i64, sha: &str) -> Result<()> {
    db.execute("UPDATE pulls SET head_sha = ?2 WHERE issue_id = ?1", params![issue, sha])?;
    super::touch(db, issue)
}

pub(crate) fn set_base(db: &Connection, issue: i64, sha: &str) -> Result<()> {
    db.execute("UPDATE pulls SET base_sha = ?2 WHERE issue_id = ?1", params![issue, sha])?;
    Ok(())
}

/// Has a pull request go into another branch.
pub(crate) fn set_base_ref(db: &Connection, issue: i64, branch: &str, sha: &str) -> Result<()> {
    db.execute("UPDATE pulls SET base_ref = ?2, base_sha = ?3 WHERE issue_id = ?1", params![issue, branch, sha])?;
    super::touch(db, issue)
}

pub(crate) fn set_draft(db: &Connection, issue: i64, draft: bool) -> Result<()> {
    db.execute("UPDATE pulls SET draft = ?2 WHERE issue_id = ?1", params![issue, draft])?;
    super::touch(db, issue)
}

/// Writes down the commit that the base branch is about to move to, or that it did not.
pub(crate) fn intend_merge(db: &Connection, issue: i64, merging: Option<(&str, &User)>) -> Result<()> {
    let (sha, by) = merging.map(|(sha, user)| (sha, user.id)).unzip();
    db.execute("UPDATE pulls SET merging_sha = ?2, merging_by = ?3 WHERE issue_id = ?1", params![issue, sha, by])?;
    Ok(())
}

/// Closes a pull request as merged.
pub(crate) fn mark_merged(db: &Connection, issue: i64, sha: &str, base_sha: &str, by: &User) -> Result<()> {
    db.execute(
        "UPDATE pulls SET merged_at = ?2, merged_by = ?3, merge_commit_sha = ?4, base_sha = ?5, merging_sha = NULL, \
         merging_by = NULL WHERE issue_id = ?1",
        params![issue, now(), by.id, sha, base_sha],
    )?;
    super::close_issue(db, issue, by)
}
