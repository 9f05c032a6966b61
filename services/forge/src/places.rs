//! Where repositories are: forks, new names, archives, and what was deleted.

use crate::error::{Error, Result};
use crate::git::Bare;
use crate::hub::Hub;
use crate::model::{Fork, Repository, User};
use crate::{names, store};

impl Hub {
    /// The repository that had that name before.
    pub(crate) async fn moved_to(&self, owner: &str, name: &str) -> Result<Option<Repository>> {
        let (owner, name) = (owner.to_owned(), name.to_owned());
        self.store
            .read(move |db| match store::repository(db, &owner, &name)? {
                Some(_) => Ok(None),
                None => store::renamed(db, &owner, &name),
            })
            .await
    }

    pub(crate) async fn repository_by_id(&self, id: i64) -> Result<Repository> {
        let found = self.store.read(move |db| store::repository_by_id(db, id)).await?;
        if found.deleted { Err(Error::NotFound) } else { Ok(found) }
    }

    /// Copies a repository to another owner.
    pub(crate) async fn fork(&self, parent: &Repository, into: &User, name: &str) -> Result<Repository> {
        if parent.owner.id == into.id {
            return Err(Error::Forbidden("You cannot fork your own repository.".to_owned()));
        }
        if let Ok(known) = self.repository(&into.login, name).await {
            // GitHub answers with the fork that is there.
            return match known.parent_id {
                Some(id) if id == parent.id => Ok(known),
                _ => Err(Error::custom("Repository", "name", "name already exists on this account")),
            };
        }
        let fork = self.create_repository(&into.login, name, &parent.default_branch).await?;
        {
            let _lock = self.lock(&fork).await;
            self.bare(&fork)?.copy_branches(&self.bare(parent)?).await?;
        }
        let (id, parent) = (fork.id, parent.id);
        self.change(move |db| store::set_parent(db, id, parent)).await?;
        self.sync(&fork, into).await?;
        self.repository_by_id(id).await
    }

    /// Deletes a repository: nobody finds it any more, and its folder is gone.
    pub(crate) async fn delete_repository(&self, repository: &Repository) -> Result<()> {
        let _lock = self.lock(repository).await;
        let id = repository.id;
        // The folder first: one that stayed behind would be found again under a new repository of that name.
        self.bare(repository)?.remove().await?;
        self.change(move |db| store::delete_repository(db, id)).await
    }

    /// Gives a repository another name. The old one leads to it until another repository takes it.
    pub(crate) async fn rename(&self, repository: &Repository, new: &str) -> Result<Repository> {
        if !names::is_repository(new) {
            return Err(Error::field("Repository", "name", "invalid"));
        }
        if self.repository(&repository.owner.login, new).await.is_ok() {
            return Err(Error::custom("Repository", "name", "name already exists on this account"));
        }
        let _lock = self.lock(repository).await;
        let (from, to) = (self.bare(repository)?, self.git.at(&repository.owner.login, new)?);
        let (id, new) = (repository.id, new.to_owned());
        self.change(move |db| store::rename_repository(db, id, &new)).await?;
        from.move_to(&to).await?;
        self.repository_by_id(id).await
    }

    /// After a start: moves the folder of a repository that was renamed just before the end.
    pub(crate) async fn settle(&self, repository: &Repository) -> Result<()> {
        let here = self.bare(repository)?;
        if here.exists().await {
            return Ok(());
        }
        let id = repository.id;
        for name in self.store.read(move |db| store::former_names(db, id)).await? {
            let there = self.git.at(&repository.owner.login, &name)?;
            if there.exists().await {
                return there.move_to(&here).await;
            }
        }
        Ok(())
    }

    /// Where `branch` or `owner:branch` is: in the repository itself, or in one that shares its commits.
    pub(crate) async fn head_of(&self, base: &Repository, head: &str) -> Result<(Option<Fork>, String)> {
        let Some((owner, branch)) = head.split_once(':') else { return Ok((None, head.to_owned())) };
        if owner.eq_ignore_ascii_case(&base.owner.login) {
            return Ok((None, branch.to_owned()));
        }
        let (base, owner) = (base.clone(), owner.to_owned());
        let home = self.store.read(move |db| store::relative(db, &base, &owner)).await?;
        let home = home.ok_or_else(|| Error::field("PullRequest", "head", "invalid"))?;
        let fork = Fork { id: home.id, owner: home.owner.clone(), repository: Some(Box::new(home)) };
        Ok((Some(fork), branch.to_owned()))
    }

    /// Brings the tip of a fork's branch here, and tells it. None if there is no such branch.
    pub(crate) async fn fetch_head(&self, here: &Bare, home: &Repository, branch: &str) -> Result<Option<String>> {
        let there = self.bare(home)?;
        let Some(sha) = there.branches().await?.remove(branch).filter(|_| names::is_ref(branch)) else {
            return Ok(None);
        };
        here.take_commit(&there, &sha, &format!("refs/imported/fork/{sha}")).await?;
        Ok(Some(sha))
    }
}
