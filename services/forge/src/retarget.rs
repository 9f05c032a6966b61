//! Pull requests that go into another branch than they were opened for.

use serde_json::json;

use crate::error::{Error, Result};
use crate::events::Scene;
use crate::hub::Hub;
use crate::model::{Repository, User};
use crate::store;

impl Hub {
    /// Gives an open pull request another base branch.
    pub(crate) async fn retarget(&self, repository: &Repository, actor: &User, number: i64, base: &str) -> Result<()> {
        let _lock = self.lock(repository).await;
        self.sync_locked(repository, actor).await?;
        let (issue, mut pull) = self.pull(repository, number).await?;
        if pull.base_ref == base {
            return Ok(());
        }
        if !issue.open {
            return Err(Error::custom(
                "PullRequest",
                "base",
                "Cannot change the base branch of a closed pull request.",
            ));
        }
        let bare = self.bare(repository)?;
        let tip = bare.branches().await?.remove(base);
        let tip = tip.ok_or_else(|| Error::field("PullRequest", "base", "invalid"))?;
        if bare.ahead_behind(&tip, &pull.head_sha).await?.0 == 0 {
            let text =
                format!("There are no new commits between base branch '{base}' and head branch '{}'", pull.head_ref);
            return Err(Error::custom("PullRequest", "base", text));
        }
        let changes = json!({ "base": { "ref": { "from": pull.base_ref }, "sha": { "from": pull.base_sha } } });
        (pull.base_ref, pull.base_sha) = (base.to_owned(), tip);
        let facts = self.facts(repository, &issue, &pull).await?;
        let scene = Scene::new(&self.urls, repository, actor);
        self.change(move |db| {
            store::set_base_ref(db, issue.id, &pull.base_ref, &pull.base_sha)?;
            scene.pull(db, "edited", number, &facts, json!({ "changes": changes }))
        })
        .await
    }
}
