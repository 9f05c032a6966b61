//! Refs and the commits that they stand for.

use std::collections::BTreeMap;

use super::Bare;
use crate::error::Result;
use crate::names;

/// A branch and its newest commit.
#[derive(Debug, Clone)]
pub(crate) struct Tip {
    pub(crate) branch: String,
    pub(crate) subject: String,
    /// Seconds since 1970.
    pub(crate) committed: i64,
}

impl Bare {
    /// The object that a validated ref, tag or object name stands for, peeled to a commit.
    pub(crate) async fn commit_of(&self, name: &str) -> Result<Option<String>> {
        let mut tries = Vec::new();
        if names::is_sha(name) {
            tries.push(name.to_owned());
        }
        if names::is_ref(name) {
            let full = name.strip_prefix("refs/").unwrap_or(name);
            if full.starts_with("heads/") || full.starts_with("tags/") || full.starts_with("pull/") {
                tries.push(format!("refs/{full}"));
            }
            tries.extend([format!("refs/heads/{name}"), format!("refs/tags/{name}")]);
        }
        if names::is_short_sha(name) {
            tries.push(name.to_owned());
        }
        for candidate in tries {
            let output = self.run(&["rev-parse", "--verify", "--quiet", &format!("{candidate}^{{commit}}")]).await?;
            if output.code == 0 {
                return Ok(Some(output.text()));
            }
        }
        Ok(None)
    }

    /// The object that a full ref name points to, and its type, without peeling.
    pub(crate) async fn object_of(&self, full_ref: &str) -> Result<Option<(String, String)>> {
        let listed = self.text(&["for-each-ref", "--format=%(objectname) %(objecttype) %(refname)", full_ref]).await?;
        Ok(listed.lines().find_map(|line| {
            let mut parts = line.splitn(3, ' ');
            let (sha, kind, name) = (parts.next()?, parts.next()?, parts.next()?);
            (name == full_ref).then(|| (sha.to_owned(), kind.to_owned()))
        }))
    }

    /// Every branch with its commit.
    pub(crate) async fn branches(&self) -> Result<BTreeMap<String, String>> {
        let listed = self.text(&["for-each-ref", "--format=%(objectname) %(refname)", "refs/heads/"]).await?;
        Ok(listed
            .lines()
            .filter_map(|line| {
                let (sha, name) = line.split_once(' ')?;
                Some((name.strip_prefix("refs/heads/")?.to_owned(), sha.to_owned()))
            })
            .collect())
    }

    /// Branches that have commits which `base` has not, the newest first.
    pub(crate) async fn unmerged(&self, base: &str) -> Result<Vec<Tip>> {
        // A ref name has no space, a subject no line break.
        let format = "--format=%(committerdate:unix) %(refname) %(contents:subject)";
        let base = format!("--no-merged={base}");
        let listed = self.text(&["for-each-ref", "--sort=-committerdate", &base, format, "refs/heads/"]).await?;
        let tip = |line: &str| {
            let mut parts = line.splitn(3, ' ');
            let (date, name, subject) = (parts.next()?, parts.next()?, parts.next()?);
            let branch = name.strip_prefix("refs/heads/")?.to_owned();
            Some(Tip { branch, subject: subject.trim().to_owned(), committed: date.parse().unwrap_or(0) })
        };
        Ok(listed.split('\n').filter_map(tip).collect())
    }

    /// Moves a ref if it still points to `old`; an empty `old` means that it must not exist. False if it moved.
    pub(crate) async fn update_ref(&self, full_ref: &str, new: &str, old: &str) -> Result<bool> {
        let zero = "0".repeat(40);
        let old = if old.is_empty() { zero.as_str() } else { old };
        let output = self.run(&["update-ref", full_ref, new, old]).await?;
        if output.code != 0 {
            tracing::debug!(reference = full_ref, error = output.stderr, "reference not moved");
        }
        Ok(output.code == 0)
    }

    /// Points a ref that only the forge writes.
    pub(crate) async fn force_ref(&self, full_ref: &str, new: &str) -> Result<()> {
        self.run(&["update-ref", full_ref, new]).await?.ok().map(drop)
    }

    /// Makes `branch` what a clone checks out.
    pub(crate) async fn set_head(&self, branch: &str) -> Result<()> {
        self.run(&["symbolic-ref", "HEAD", &format!("refs/heads/{branch}")]).await?.ok().map(drop)
    }
}
