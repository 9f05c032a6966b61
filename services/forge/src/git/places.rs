//! Whole repositories: copied, moved, removed; and commits of one that another one needs.

use super::{Bare, LONG_LIMIT, finish};
use crate::error::{Error, Result};
use crate::names;

impl Bare {
    /// Takes every branch of another repository of this forge.
    pub(crate) async fn copy_branches(&self, from: &Self) -> Result<()> {
        self.take(from, "+refs/heads/*:refs/heads/*").await
    }

    /// Takes one commit of another repository of this forge, under a ref that only the forge writes.
    pub(crate) async fn take_commit(&self, from: &Self, sha: &str, full_ref: &str) -> Result<()> {
        if !names::is_sha(sha) {
            return Err(Error::NotFound);
        }
        self.take(from, &format!("+{sha}:{full_ref}")).await
    }

    async fn take(&self, from: &Self, refspec: &str) -> Result<()> {
        let _slot = self.git.long.acquire().await.map_err(Error::internal)?;
        let mut command = self.git.command(Some(&self.dir));
        command
            .args(["-c", "protocol.file.allow=always", "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--"])
            .arg(&from.dir)
            .arg(refspec);
        finish(command, Vec::new(), LONG_LIMIT, "fetch").await?.ok().map(drop)
    }

    /// Moves the folder; nobody may use it meanwhile.
    pub(crate) async fn move_to(&self, to: &Self) -> Result<()> {
        Ok(tokio::fs::rename(&self.dir, &to.dir).await?)
    }

    /// Whether the folder is there.
    pub(crate) async fn exists(&self) -> bool {
        tokio::fs::try_exists(&self.dir).await.unwrap_or(false)
    }

    /// Removes the folder, if it is there: at once for everybody, then file by file.
    pub(crate) async fn remove(&self) -> Result<()> {
        let gone = self.dir.with_extension(format!("{}.gone", uuid::Uuid::new_v4().simple()));
        match tokio::fs::rename(&self.dir, &gone).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.into()),
            Ok(()) => Ok(tokio::fs::remove_dir_all(&gone).await?),
        }
    }
}
