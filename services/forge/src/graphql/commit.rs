//! What lives in git: commits, files, folders, refs.

use async_graphql::{Context, ID, Interface, Object, Result};

use super::check::CheckSuite;
use super::fault::refusal;
use super::input::CheckSuiteFilter;
use super::page::{Connection, Window};
use super::rollup::StatusCheckRollup;
use super::{DateTime, GitObjectId, Session};
use crate::error::Error;
use crate::git::Entry;
use crate::model::Repository;
use crate::{node_id, store};

/// Largest file that is told whole, as GitHub has it.
const TEXT_LIMIT: usize = 512_000;

/// An object in git.
#[derive(Debug, Clone, Interface)]
#[graphql(field(name = "id", ty = "ID"), field(name = "oid", ty = "GitObjectId"))]
pub(super) enum GitObject {
    Commit(Commit),
    Blob(Blob),
    Tree(Tree),
}

/// A commit.
#[derive(Debug, Clone)]
pub(super) struct Commit {
    pub(super) repository: Repository,
    pub(super) sha: String,
}

#[Object]
impl Commit {
    pub(super) async fn id(&self) -> ID {
        node_id::in_git("C", self.repository.id, &self.sha).into()
    }

    pub(super) async fn oid(&self) -> GitObjectId {
        GitObjectId(self.sha.clone())
    }

    async fn abbreviated_oid(&self) -> String {
        self.sha.chars().take(7).collect()
    }

    async fn message(&self, ctx: &Context<'_>) -> Result<String> {
        let bare = Session::of(ctx)?.hub.bare(&self.repository).map_err(refusal)?;
        Ok(bare.commit(&self.sha).await.map_err(refusal)?.message)
    }

    async fn committed_date(&self, ctx: &Context<'_>) -> Result<DateTime> {
        let bare = Session::of(ctx)?.hub.bare(&self.repository).map_err(refusal)?;
        Ok(DateTime(bare.commit(&self.sha).await.map_err(refusal)?.committer.date))
    }

    async fn status_check_rollup(&self, ctx: &Context<'_>) -> Option<Result<StatusCheckRollup>> {
        StatusCheckRollup::of(ctx, &self.repository, &self.sha).await.transpose()
    }

    async fn check_suites(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
        before: Option<String>,
        filter_by: Option<CheckSuiteFilter>,
        first: Option<i32>,
        last: Option<i32>,
    ) -> Option<Result<Connection<CheckSuite>>> {
        let found = async {
            let (id, sha) = (self.repository.id, self.sha.clone());
            let hub = &Session::of(ctx)?.hub;
            let read = hub.store.read(move |db| store::check_runs(db, id, &sha, false, store::Page::ALL));
            let mut suites: Vec<CheckSuite> = Vec::new();
            for run in read.await.map_err(refusal)? {
                match suites.iter_mut().find(|suite| suite.id == run.suite) {
                    Some(suite) => suite.runs.push(run),
                    None => {
                        let repository = self.repository.clone();
                        suites.push(CheckSuite { repository, id: run.suite, sha: self.sha.clone(), runs: vec![run] });
                    }
                }
            }
            if let Some(filter) = filter_by {
                suites.retain(|suite| filter.fits(&suite.runs));
            }
            Window { first, last, after, before }.of("checkSuites", suites, |suite| suite.id)
        };
        Some(found.await)
    }
}

/// A file.
#[derive(Debug, Clone)]
pub(super) struct Blob {
    pub(super) repository: Repository,
    pub(super) sha: String,
    pub(super) bytes: Vec<u8>,
}

impl Blob {
    fn binary(&self) -> bool {
        self.bytes.contains(&0) || std::str::from_utf8(&self.bytes).is_err()
    }
}

#[Object]
impl Blob {
    pub(super) async fn id(&self) -> ID {
        node_id::in_git("B", self.repository.id, &self.sha).into()
    }

    pub(super) async fn oid(&self) -> GitObjectId {
        GitObjectId(self.sha.clone())
    }

    async fn byte_size(&self) -> i32 {
        i32::try_from(self.bytes.len()).unwrap_or(i32::MAX)
    }

    async fn is_binary(&self) -> Option<bool> {
        Some(self.binary())
    }

    async fn is_truncated(&self) -> bool {
        self.bytes.len() > TEXT_LIMIT
    }

    async fn text(&self) -> Option<String> {
        let shown = self.bytes.get(..TEXT_LIMIT).unwrap_or(&self.bytes);
        (!self.binary()).then(|| String::from_utf8_lossy(shown).trim_end_matches('\u{fffd}').to_owned())
    }
}

/// A folder.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    pub(super) repository: Repository,
    pub(super) entry: Entry,
}

#[Object]
impl Tree {
    pub(super) async fn id(&self) -> ID {
        node_id::in_git("T", self.repository.id, &self.entry.sha).into()
    }

    pub(super) async fn oid(&self) -> GitObjectId {
        GitObjectId(self.entry.sha.clone())
    }
}

/// A branch, a tag or a pull request's head.
#[derive(Debug, Clone)]
pub(super) struct Ref {
    pub(super) repository: Repository,
    /// With `refs/`.
    pub(super) full: String,
    pub(super) commit: String,
}

impl Ref {
    /// The ref of that name, if it stands for a commit.
    pub(super) async fn find(session: &Session, repository: &Repository, name: &str) -> Result<Option<Self>, Error> {
        let full = if name.starts_with("refs/") { name.to_owned() } else { format!("refs/heads/{name}") };
        if !crate::names::is_ref(&full) {
            return Ok(None);
        }
        let bare = session.hub.bare(repository)?;
        if bare.object_of(&full).await?.is_none() {
            return Ok(None);
        }
        let commit = bare.commit_of(&full).await?;
        Ok(commit.map(|commit| Self { repository: repository.clone(), full, commit }))
    }

    fn split(&self) -> (&str, &str) {
        let kinds = ["refs/heads/", "refs/tags/", "refs/pull/"];
        let prefix = kinds.into_iter().find(|prefix| self.full.starts_with(prefix)).unwrap_or("refs/");
        self.full.split_at(prefix.len())
    }
}

#[Object]
impl Ref {
    pub(super) async fn id(&self) -> ID {
        node_id::in_git("REF", self.repository.id, &self.full).into()
    }

    async fn name(&self) -> String {
        self.split().1.to_owned()
    }

    async fn prefix(&self) -> String {
        self.split().0.to_owned()
    }

    async fn target(&self) -> Option<GitObject> {
        Some(GitObject::Commit(Commit { repository: self.repository.clone(), sha: self.commit.clone() }))
    }
}

/// A commit in a pull request.
#[derive(Debug, Clone)]
pub(super) struct PullRequestCommit {
    pub(super) repository: Repository,
    pub(super) pull: i64,
    pub(super) sha: String,
    pub(super) index: i64,
}

#[Object]
impl PullRequestCommit {
    pub(super) async fn id(&self) -> ID {
        node_id::in_git("PURC", self.repository.id, &format!("{}:{}", self.pull, self.sha)).into()
    }

    async fn commit(&self) -> Commit {
        Commit { repository: self.repository.clone(), sha: self.sha.clone() }
    }
}
