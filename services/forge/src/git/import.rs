//! Branches of a repository on this machine, fetched into the forge's.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Bare, LONG_LIMIT, finish};
use crate::error::{Error, Result};
use crate::names;

impl Bare {
    /// Fetches every branch of `source` to `refs/imported/` and tells where they stand, and which one is checked out.
    pub(crate) async fn fetch_from(&self, source: &Path) -> Result<(BTreeMap<String, String>, Option<String>)> {
        let source = tokio::fs::canonicalize(source)
            .await
            .map_err(|error| Error::invalid(format!("no repository at {}: {error}", source.display())))?;
        let _slot = self.git.long.acquire().await.map_err(Error::internal)?;
        let mut command = self.git.command(Some(&self.dir));
        command
            .args(["-c", "protocol.file.allow=always", "fetch", "--quiet", "--no-tags", "--prune", "--update-shallow"])
            .args(["--no-write-fetch-head", "--"])
            .arg(&source)
            .arg("+refs/heads/*:refs/imported/*");
        let output = finish(command, Vec::new(), LONG_LIMIT, "fetch").await?;
        if output.code != 0 {
            let path = source.display();
            return Err(Error::invalid(format!(
                "{path} cannot be fetched as a git repository: {}",
                output.stderr.trim()
            )));
        }
        let listed = self.text(&["for-each-ref", "--format=%(objectname) %(refname)", "refs/imported/"]).await?;
        let branches = listed
            .lines()
            .filter_map(|line| {
                let (sha, name) = line.split_once(' ')?;
                let name = name.strip_prefix("refs/imported/")?;
                names::is_ref(name).then(|| (name.to_owned(), sha.to_owned()))
            })
            .collect();
        let mut command = self.git.command(None);
        command.arg("-C").arg(&source).args(["symbolic-ref", "--quiet", "--short", "HEAD"]);
        let head = finish(command, Vec::new(), LONG_LIMIT, "symbolic-ref").await?;
        Ok((branches, (head.code == 0).then(|| head.text())))
    }
}
