//! Repositories: made, and brought here from this machine.

use std::path::Path;

use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::model::{Repository, Role};
use crate::{names, store};

/// What an import found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// The branch that pull requests go to.
    pub default_branch: String,
    /// Branches that are new here or went forward.
    pub updated: Vec<String>,
    /// Branches that went another way here than in the source, and were left as they are here.
    pub diverged: Vec<String>,
}

impl Hub {
    pub(crate) async fn create_repository(&self, owner: &str, name: &str, default_branch: &str) -> Result<Repository> {
        if !names::is_owner(owner) || !names::is_repository(name) || !names::is_ref(default_branch) {
            return Err(Error::invalid(format!("{owner}/{name} with branch {default_branch:?} is no repository name")));
        }
        if let Ok(known) = self.repository(owner, name).await {
            return Ok(known);
        }
        self.git.create(owner, name, default_branch).await?;
        let (owner, name, branch) = (owner.to_owned(), name.to_owned(), default_branch.to_owned());
        self.change(move |db| {
            let owner = match store::user(db, &owner)? {
                Some(user) => user,
                None => store::create_user(db, &owner, Role::None)?,
            };
            store::create_repository(db, &owner, &name, &branch)
        })
        .await
    }

    pub(crate) async fn import(&self, owner: &str, name: &str, source: &Path) -> Result<Imported> {
        let known = self.repository(owner, name).await.ok();
        let repository = self.create_repository(owner, name, "main").await?;
        let lock = self.lock(&repository).await;
        let bare = self.bare(&repository)?;
        let (branches, head) = bare.fetch_from(source).await?;
        if branches.is_empty() {
            return Err(Error::invalid(format!("{} has no commit on any branch", source.display())));
        }
        let mut imported = Imported { default_branch: repository.default_branch.clone(), ..Imported::default() };
        if known.is_none_or(|known| !branches.contains_key(&known.default_branch)) {
            let usual = ["main", "master"].into_iter().find(|name| branches.contains_key(*name)).map(str::to_owned);
            let branch = usual.or(head).filter(|name| branches.contains_key(name));
            if let Some(branch) = branch.or_else(|| branches.keys().next().cloned()) {
                bare.set_head(&branch).await?;
                imported.default_branch.clone_from(&branch);
                let id = repository.id;
                self.change(move |db| store::set_default_branch(db, id, &branch)).await?;
            }
        }
        let here = bare.branches().await?;
        for (branch, sha) in &branches {
            let old = here.get(branch);
            match old {
                Some(old) if old == sha || bare.is_ancestor(sha, old).await? => continue,
                Some(old) if !bare.is_ancestor(old, sha).await? => {
                    imported.diverged.push(branch.clone());
                    continue;
                }
                _ => {}
            }
            let old = old.map(String::as_str).unwrap_or_default();
            if bare.update_ref(&format!("refs/heads/{branch}"), sha, old).await? {
                imported.updated.push(branch.clone());
            }
        }
        let actor = self.user(&self.settings.local_user).await?.unwrap_or_else(|| repository.owner.clone());
        self.sync_locked(&repository, &actor).await?;
        drop(lock);
        self.sync_dependents(&repository, &actor).await?;
        Ok(imported)
    }
}
