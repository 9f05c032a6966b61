//! Whose a target is. Any repository's default branch can name any target: that alone gives no right to it.

use kfops_core::{Failure, Reason};

use super::Driver;
use crate::command::Repository;

/// What to say about whoever owns a target.
const HOW: &str = "targets.owners of scm-bot's settings";

impl Driver {
    /// Whether the command's repository may change what is live there: it owns the target, or nobody does.
    pub(super) async fn owned(&self, target: &str) -> Result<Result<(), Failure>, Failure> {
        let owner = self.owner(target).await?;
        Ok(owner.map_or(Ok(()), |owner| self.is_owner(target, &owner)))
    }

    /// As `owned`; a target that nobody owns belongs to whoever holds its lock.
    pub(super) async fn may_unlock(&self, target: &str, holder: &str) -> Result<Result<(), Failure>, Failure> {
        let owner = match self.owner(target).await? {
            Some(owner) => Some(owner),
            None => match self.engine.ledger.get(holder).await {
                Ok(holder) => Some(holder.repository),
                Err(failure) if failure.reason == Reason::NotFound => None,
                Err(failure) => return Err(failure),
            },
        };
        Ok(owner.map_or(Ok(()), |owner| self.is_owner(target, &owner)))
    }

    /// Whom the operator names, or else the repository whose command brought a revision live there last.
    async fn owner(&self, target: &str) -> Result<Option<Repository>, Failure> {
        if let Some(named) = self.engine.settings.targets.owner(target) {
            return Ok(Some(named));
        }
        Ok(self.engine.ledger.deployer(target).await?.map(|command| command.repository))
    }

    fn is_owner(&self, target: &str, owner: &Repository) -> Result<(), Failure> {
        let own = &self.command.repository;
        if owner == own {
            return Ok(());
        }
        Err(Failure::new(Reason::PolicyRefused, format!("{target} belongs to {owner}, and this is {own}"))
            .on(target)
            .action(format!(
                "name another namespace or serving.name in kfops.yaml; to hand the target over, or when {owner} was \
                 renamed, the operator sets {own} for it under {HOW}"
            )))
    }
}
