//! Commits and how they relate.

use super::Bare;
use crate::clock;
use crate::error::{Error, Result};

/// Who wrote or made a commit.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) date: String,
}

/// A commit.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    pub(crate) sha: String,
    pub(crate) tree: String,
    pub(crate) parents: Vec<String>,
    pub(crate) author: Person,
    pub(crate) committer: Person,
    pub(crate) message: String,
}

const FORMAT: &str = "--format=%H%x1f%T%x1f%P%x1f%an%x1f%ae%x1f%at%x1f%cn%x1f%ce%x1f%ct%x1f%B%x00";

impl Bare {
    /// One commit.
    pub(crate) async fn commit(&self, sha: &str) -> Result<Commit> {
        self.log(&[sha, "--max-count=1"]).await?.into_iter().next().ok_or(Error::NotFound)
    }

    /// Commits that `head` has and `base` has not, oldest first, at most `limit` of the newest.
    pub(crate) async fn commits(&self, base: &str, head: &str, limit: usize) -> Result<Vec<Commit>> {
        let range = format!("{base}..{head}");
        self.log(&[&range, "--reverse", "--topo-order", &format!("--max-count={limit}")]).await
    }

    /// Commits from `head` back, newest first.
    pub(crate) async fn recent(&self, head: &str, skip: usize, limit: usize) -> Result<Vec<Commit>> {
        self.log(&[head, &format!("--skip={skip}"), &format!("--max-count={limit}")]).await
    }

    async fn log(&self, args: &[&str]) -> Result<Vec<Commit>> {
        let mut all = vec!["log", "--no-show-signature", "--no-color", "--no-notes", "--encoding=UTF-8", FORMAT];
        all.extend(args);
        all.push("--");
        let output = self.run(&all).await?.ok()?;
        Ok(output.stdout.split(|&byte| byte == 0).filter_map(parse).collect())
    }

    /// Whether `old` is `new` or one of its ancestors.
    pub(crate) async fn is_ancestor(&self, old: &str, new: &str) -> Result<bool> {
        let output = self.run(&["merge-base", "--is-ancestor", old, new]).await?;
        match output.code {
            0 => Ok(true),
            1 => Ok(false),
            _ => output.ok().map(|_| false),
        }
    }

    /// The best common ancestor.
    pub(crate) async fn merge_base(&self, one: &str, other: &str) -> Result<Option<String>> {
        let output = self.run(&["merge-base", one, other]).await?;
        Ok((output.code == 0).then(|| output.text()))
    }

    /// How many commits `head` is ahead of `base`, and behind it.
    pub(crate) async fn ahead_behind(&self, base: &str, head: &str) -> Result<(i64, i64)> {
        let counts = self.text(&["rev-list", "--left-right", "--count", &format!("{base}...{head}")]).await?;
        let mut numbers = counts.split_whitespace().filter_map(|word| word.parse().ok());
        match (numbers.next(), numbers.next()) {
            (Some(behind), Some(ahead)) => Ok((ahead, behind)),
            _ => Err(Error::Internal(format!("git rev-list counted {counts:?}"))),
        }
    }
}

fn parse(record: &[u8]) -> Option<Commit> {
    let text = String::from_utf8_lossy(record);
    let mut fields = text.trim_start_matches('\n').splitn(10, '\u{1f}');
    let mut next = || fields.next().map(str::to_owned);
    let (sha, tree, parents) = (next()?, next()?, next()?);
    let mut person = || {
        let (name, email, date) = (next()?, next()?, next()?);
        Some(Person { name, email, date: clock::from_unix(date.parse().ok()?) })
    };
    let (author, committer) = (person()?, person()?);
    let parents = parents.split_whitespace().map(str::to_owned).collect();
    let message = fields.next()?.trim_end().to_owned();
    Some(Commit { sha, tree, parents, author, committer, message })
}
