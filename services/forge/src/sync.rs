//! Brings the database up to date with the repositories. Pushes, merges, imports and restarts all end here: it looks
//! where the branches are, compares with where it last saw them, and draws the consequences in one transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::error::Result;
use crate::events::Scene;
use crate::git::Bare;
use crate::hub::Hub;
use crate::json::{self, Facts};
use crate::model::{Fork, Issue, Pull, Repository, User};
use crate::store;

/// Most commits that a `push` payload lists.
const PUSH_COMMITS: usize = 20;
/// What git calls no commit.
const ZERO: &str = "0000000000000000000000000000000000000000";

type Branches = BTreeMap<String, String>;

/// What becomes of an open pull request.
#[derive(Debug, Clone)]
enum Fate {
    /// Its head moved there.
    Moved(String),
    /// Its base branch has it now: the commit, the base before, and who did it.
    Merged(String, String, User),
    /// Its head branch is gone.
    HeadGone,
    /// A merge was begun and did not happen.
    MergeAbandoned,
    /// Only its base moved.
    BaseMoved,
}

impl Hub {
    /// Looks at one repository, while nobody else changes its refs.
    pub(crate) async fn sync(&self, repository: &Repository, actor: &User) -> Result<()> {
        {
            let _lock = self.lock(repository).await;
            self.sync_locked(repository, actor).await?;
        }
        self.sync_dependents(repository, actor).await
    }

    /// Looks at the repositories that have pull requests from this one. Its lock must be free.
    pub(crate) async fn sync_dependents(&self, repository: &Repository, actor: &User) -> Result<()> {
        let id = repository.id;
        for base in self.store.read(move |db| store::dependents(db, id)).await? {
            let _lock = self.lock(&base).await;
            self.sync_locked(&base, actor).await?;
        }
        Ok(())
    }

    /// Looks at every repository, after a start.
    pub(crate) async fn sync_all(self: &Arc<Self>) -> Result<()> {
        for repository in self.store.read(store::repositories).await? {
            let owner = repository.owner.clone();
            let settled = self.settle(&repository).await;
            if let Err(error) = settled.and(self.sync(&repository, &owner).await) {
                // One broken repository is no reason to keep the others away.
                tracing::error!(repository = repository.full_name(), ?error, "repository cannot be read");
            }
        }
        Ok(())
    }

    /// The same for a caller that holds the lock.
    pub(crate) async fn sync_locked(&self, repository: &Repository, actor: &User) -> Result<()> {
        let bare = self.bare(repository)?;
        let now = bare.branches().await?;
        let id = repository.id;
        let (before, open) =
            self.store.read(move |db| Ok((store::branches(db, id)?, store::open_pulls(db, id)?))).await?;
        let moved = moves(&before, &now);
        let mut fates = Vec::new();
        for issue in open {
            let Some(pull) = issue.pull.clone() else { continue };
            let heads = match &pull.fork {
                None => Some(now.clone()),
                Some(Fork { repository: Some(home), .. }) => Some(self.bare(home)?.branches().await?),
                Some(_) => None,
            };
            for fate in fates_of(&bare, &pull, &before, (&now, heads.as_ref()), actor).await? {
                fates.push((issue.clone(), pull.clone(), fate));
            }
        }
        if moved.is_empty() && fates.is_empty() {
            return Ok(());
        }
        let mut pushes = Vec::new();
        for (name, old, new) in &moved {
            pushes.push(self.push_payload(&bare, repository, actor, name, old, new).await?);
        }
        let mut outcomes = Vec::new();
        for (issue, mut pull, fate) in fates {
            if let Some(tip) = now.get(&pull.base_ref) {
                pull.base_sha.clone_from(tip);
            }
            match &fate {
                Fate::Moved(sha) => {
                    let reference = format!("refs/pull/{}/head", issue.number);
                    match pull.fork.as_ref().and_then(|fork| fork.repository.as_deref()) {
                        Some(home) => bare.take_commit(&self.bare(home)?, sha, &reference).await?,
                        None => bare.force_ref(&reference, sha).await?,
                    }
                    pull.head_sha.clone_from(sha);
                }
                Fate::Merged(_, base, _) => pull.base_sha.clone_from(base),
                _ => {}
            }
            let facts = self.facts(repository, &issue, &pull).await?;
            outcomes.push((issue, pull, fate, facts));
        }
        let scene = Scene::new(&self.urls, repository, actor);
        let rows: Vec<(String, String)> = moved.into_iter().map(|(name, _, new)| (name, new)).collect();
        self.change(move |db| {
            store::put_branches(db, id, &rows)?;
            for payload in pushes {
                scene.emit(db, "push", None, payload)?;
            }
            for (issue, pull, fate, facts) in &outcomes {
                apply(db, &scene, issue, pull, fate, facts)?;
            }
            Ok(())
        })
        .await
    }

    async fn push_payload(
        &self,
        bare: &Bare,
        repository: &Repository,
        actor: &User,
        branch: &str,
        old: &str,
        new: &str,
    ) -> Result<Value> {
        let (created, deleted) = (old.is_empty(), new.is_empty());
        let mut listed = Vec::new();
        if !deleted {
            let commits =
                if created { bare.recent(new, 0, 1).await? } else { bare.commits(old, new, PUSH_COMMITS).await? };
            for commit in commits {
                let changes = bare.changes(commit.parents.first().map(String::as_str), &commit.sha, false).await?;
                listed.push(json::push_commit(&self.urls, repository, &commit, &changes));
            }
        }
        let head_commit = if deleted {
            Value::Null
        } else {
            let commit = bare.commit(new).await?;
            let changes = bare.changes(commit.parents.first().map(String::as_str), &commit.sha, false).await?;
            json::push_commit(&self.urls, repository, &commit, &changes)
        };
        let forced = !created && !deleted && !bare.is_ancestor(old, new).await?;
        let name = |sha: &str| if sha.is_empty() { ZERO.to_owned() } else { sha.to_owned() };
        let (old, new) = (name(old), name(new));
        Ok(json!({
            "ref": format!("refs/heads/{branch}"),
            "before": old,
            "after": new,
            "base_ref": null,
            "created": created,
            "deleted": deleted,
            "forced": forced,
            "compare": format!("{}/compare/{}...{}", self.urls.html(repository), &old[..12], &new[..12]),
            "commits": listed,
            "head_commit": head_commit,
            "pusher": { "name": actor.login, "email": email(actor) },
        }))
    }
}

/// The address that the forge writes into commits of a user.
pub(crate) fn email(user: &User) -> String {
    format!("{}+{}@users.noreply.localhost", user.id, user.login.replace(['[', ']'], ""))
}

fn moves(before: &Branches, now: &Branches) -> Vec<(String, String, String)> {
    let mut moved = Vec::new();
    for (name, sha) in now {
        let old = before.get(name).cloned().unwrap_or_default();
        if old != *sha {
            moved.push((name.clone(), old, sha.clone()));
        }
    }
    for (name, sha) in before {
        if !now.contains_key(name) {
            moved.push((name.clone(), sha.clone(), String::new()));
        }
    }
    moved
}

/// `heads` are the branches of the repository that the head is in: none if that was deleted.
async fn fates_of(
    bare: &Bare,
    pull: &Pull,
    before: &Branches,
    (now, heads): (&Branches, Option<&Branches>),
    actor: &User,
) -> Result<Vec<Fate>> {
    let base_before = before.get(&pull.base_ref);
    let base_now = now.get(&pull.base_ref);
    let base_moved = base_before != base_now || base_now.is_some_and(|tip| *tip != pull.base_sha);
    let mut fates = Vec::new();
    if let Some((sha, by)) = &pull.merging {
        if let Some(tip) = base_now
            && bare.is_ancestor(sha, tip).await?
        {
            let base = base_before.unwrap_or(&pull.base_sha).clone();
            return Ok(vec![Fate::Merged(sha.clone(), base, by.clone())]);
        }
        fates.push(Fate::MergeAbandoned);
    }
    if let (Some(old), Some(tip)) = (base_before, base_now)
        && old != tip
        && bare.is_ancestor(&pull.head_sha, tip).await?
        && !bare.is_ancestor(&pull.head_sha, old).await?
    {
        return Ok(vec![Fate::Merged(tip.clone(), old.clone(), actor.clone())]);
    }
    match heads.map_or(Some(&pull.head_sha), |heads| heads.get(&pull.head_ref)) {
        None => fates.push(Fate::HeadGone),
        Some(tip) if *tip != pull.head_sha => fates.push(Fate::Moved(tip.clone())),
        Some(_) if base_moved => fates.push(Fate::BaseMoved),
        Some(_) => {}
    }
    Ok(fates)
}

fn apply(
    db: &rusqlite::Connection,
    scene: &Scene,
    issue: &Issue,
    pull: &Pull,
    fate: &Fate,
    facts: &Facts,
) -> Result<()> {
    match fate {
        Fate::Moved(sha) => {
            let before = issue.pull.as_ref().map(|pull| pull.head_sha.clone());
            store::set_head(db, issue.id, sha)?;
            store::set_base(db, issue.id, &pull.base_sha)?;
            scene.pull(db, "synchronize", issue.number, facts, json!({ "before": before, "after": sha }))
        }
        Fate::Merged(sha, base, by) => {
            store::mark_merged(db, issue.id, sha, base, by)?;
            let scene = Scene { sender: by.clone(), ..scene.clone() };
            scene.pull(db, "closed", issue.number, facts, json!({}))
        }
        Fate::HeadGone => {
            store::close_issue(db, issue.id, &scene.sender)?;
            scene.pull(db, "closed", issue.number, facts, json!({}))
        }
        Fate::MergeAbandoned => store::intend_merge(db, issue.id, None),
        Fate::BaseMoved => store::set_base(db, issue.id, &pull.base_sha),
    }
}
