//! Pull requests: opened, edited, brought up to date, merged.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use crate::error::{Error, Result};
use crate::events::Scene;
use crate::git::Merge;
use crate::hub::Hub;
use crate::model::{Fork, Issue, Pull, Repository, User};
use crate::{names, store, sync};

/// Longest title.
pub(crate) const TITLE_LIMIT: usize = 256;
/// Longest body or comment, in characters.
pub(crate) const BODY_LIMIT: usize = 65_536;

/// A pull request to be opened.
#[derive(Debug, Clone)]
pub(crate) struct NewPull {
    pub(crate) title: String,
    pub(crate) body: Option<String>,
    pub(crate) head: String,
    pub(crate) base: String,
    pub(crate) draft: bool,
}

/// How a merge makes commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Method {
    #[default]
    Merge,
    Squash,
    Rebase,
}

/// A merge that someone asks for.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(default)]
pub(crate) struct MergeOrder {
    pub(crate) commit_title: Option<String>,
    pub(crate) commit_message: Option<String>,
    pub(crate) sha: Option<String>,
    pub(crate) merge_method: Method,
}

/// Refuses titles that GitHub refuses.
pub(crate) fn check_title(resource: &'static str, title: &str) -> Result<String> {
    let title = title.trim();
    match title.chars().count() {
        0 => Err(Error::field(resource, "title", "missing_field")),
        1..=TITLE_LIMIT => Ok(title.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()),
        _ => Err(Error::custom(resource, "title", "title is too long (maximum is 256 characters)")),
    }
}

/// Refuses bodies that GitHub refuses.
pub(crate) fn check_body(resource: &'static str, body: &str) -> Result<()> {
    match body.chars().count() {
        0..=BODY_LIMIT => Ok(()),
        _ => Err(Error::custom(resource, "body", "body is too long (maximum is 65536 characters)")),
    }
}

impl Hub {
    /// Opens a pull request between two branches of the repository.
    pub(crate) async fn open_pull(
        self: &Arc<Self>,
        repository: &Repository,
        actor: &User,
        new: NewPull,
    ) -> Result<Issue> {
        let title = check_title("PullRequest", &new.title)?;
        check_body("PullRequest", new.body.as_deref().unwrap_or_default())?;
        let (fork, head) = self.head_of(repository, &new.head).await?;
        let _lock = self.lock(repository).await;
        self.sync_locked(repository, actor).await?;
        let bare = self.bare(repository)?;
        let branches = bare.branches().await?;
        let tip = |name: &str| names::is_ref(name).then(|| branches.get(name).cloned()).flatten();
        let wrong = || Error::field("PullRequest", "head", "invalid");
        let head_sha = match fork.as_ref().and_then(|fork| fork.repository.as_deref()) {
            None => tip(&head).ok_or_else(wrong)?,
            Some(home) => self.fetch_head(&bare, home, &head).await?.ok_or_else(wrong)?,
        };
        let base_sha = tip(&new.base).ok_or_else(|| Error::field("PullRequest", "base", "invalid"))?;
        let (ahead, _) = bare.ahead_behind(&base_sha, &head_sha).await?;
        if ahead == 0 {
            let text = format!("No commits between {} and {head}", new.base);
            return Err(Error::custom("PullRequest", "base", text));
        }
        let pull = Pull {
            head_ref: head.clone(),
            fork,
            head_sha: head_sha.clone(),
            base_ref: new.base.clone(),
            base_sha,
            draft: new.draft,
            merged_at: None,
            merged_by: None,
            merge_commit_sha: None,
            merging: None,
        };
        let from_fork = pull.fork.is_some();
        let scene = Scene::new(&self.urls, repository, actor);
        let facts = self.facts(repository, &stand_in(actor), &pull).await?;
        let issue = self
            .change(move |db| {
                let id = scene.repository.id;
                let twin = |issue: &Issue| {
                    let from = pull.fork.as_ref().map(|fork| fork.id);
                    issue.pull.as_ref().is_some_and(|other| other.comes_from(from, &head) && other.base_ref == new.base)
                };
                if store::open_pulls(db, id)?.iter().any(twin) {
                    let text = format!(
                        "A pull request already exists for {}:{head}.",
                        pull.head_owner(&scene.repository).login
                    );
                    return Err(Error::custom("PullRequest", "head", text));
                }
                let (issue, number) = store::create_issue(db, id, &scene.sender, &title, new.body.as_deref())?;
                store::create_pull(db, issue, &pull)?;
                scene.pull(db, "opened", number, &facts, json!({}))?;
                store::issue(db, id, number)?.ok_or(Error::NotFound)
            })
            .await?;
        bare.force_ref(&format!("refs/pull/{}/head", issue.number), &head_sha).await?;
        if from_fork {
            // A push to the fork that came in between knew of no pull request.
            self.sync_locked(repository, actor).await?;
        }
        Ok(issue)
    }

    /// Closes or reopens an issue or a pull request.
    pub(crate) async fn set_open(
        &self,
        repository: &Repository,
        actor: &User,
        issue: &Issue,
        open: bool,
    ) -> Result<()> {
        if issue.open == open {
            return Ok(());
        }
        let facts = match &issue.pull {
            Some(pull) if open && pull.merged_at.is_some() => {
                return Err(Error::custom("PullRequest", "state", "a merged pull request cannot be reopened"));
            }
            Some(pull) if open => {
                let bases = self.bare(repository)?.branches().await?;
                let heads = match &pull.fork {
                    None => bases.clone(),
                    Some(Fork { repository: Some(home), .. }) => self.bare(home)?.branches().await?,
                    Some(_) => BTreeMap::new(),
                };
                if !heads.contains_key(&pull.head_ref) || !bases.contains_key(&pull.base_ref) {
                    return Err(Error::custom("PullRequest", "state", "the head or base branch is gone"));
                }
                Some(self.facts(repository, issue, pull).await?)
            }
            Some(pull) => Some(self.facts(repository, issue, pull).await?),
            None => None,
        };
        let scene = Scene::new(&self.urls, repository, actor);
        let (id, number) = (issue.id, issue.number);
        let action = if open { "reopened" } else { "closed" };
        self.change(move |db| {
            if open {
                store::reopen_issue(db, id)?;
            } else {
                store::close_issue(db, id, &scene.sender)?;
            }
            match facts {
                Some(facts) => scene.pull(db, action, number, &facts, json!({})),
                None => scene.issue(db, action, number, json!({})),
            }
        })
        .await?;
        self.sync(repository, actor).await
    }

    /// Merges. The caller is told the new commit. Goes on when the caller hangs up.
    pub(crate) async fn merge(
        self: &Arc<Self>,
        repository: &Repository,
        actor: &User,
        number: i64,
        order: MergeOrder,
    ) -> Result<String> {
        let (hub, repository, actor) = (self.clone(), repository.clone(), actor.clone());
        let work = async move { hub.merge_now(&repository, &actor, number, &order).await };
        tokio::spawn(work).await.map_err(Error::internal)?
    }

    async fn merge_now(
        &self,
        repository: &Repository,
        actor: &User,
        number: i64,
        order: &MergeOrder,
    ) -> Result<String> {
        let _lock = self.lock(repository).await;
        self.sync_locked(repository, actor).await?;
        let (issue, pull) = self.pull(repository, number).await?;
        let not_mergeable = || Error::NotAllowed("Pull Request is not mergeable".to_owned());
        if !issue.open {
            return Err(not_mergeable());
        }
        if pull.draft {
            return Err(Error::NotAllowed("Pull Request is still a draft".to_owned()));
        }
        if order.sha.as_ref().is_some_and(|sha| *sha != pull.head_sha) {
            return Err(Error::Conflict("Head branch was modified. Review and try the merge again.".to_owned()));
        }
        self.check_merge(repository, actor, (&issue, &pull), order.merge_method).await?;
        let bare = self.bare(repository)?;
        let Some(base) = bare.branches().await?.remove(&pull.base_ref) else { return Err(not_mergeable()) };
        let (default_title, default_message) = match order.merge_method {
            Method::Squash => (format!("{} (#{number})", issue.title), String::new()),
            _ => (
                format!("Merge pull request #{number} from {}/{}", pull.head_owner(repository).login, pull.head_ref),
                issue.title.clone(),
            ),
        };
        let title = order.commit_title.clone().unwrap_or(default_title);
        let text = order.commit_message.clone().unwrap_or(default_message);
        let message = format!("{title}\n\n{text}").trim_end().to_owned();
        let email = sync::email(actor);
        let merge = Merge { onto: &base, head: &pull.head_sha, message: &message, actor: (&actor.login, &email) };
        let made = match order.merge_method {
            Method::Merge => bare.merge_commit(&merge).await?,
            Method::Squash => bare.squash_commit(&merge).await?,
            Method::Rebase => bare.rebase_commits(&merge).await?,
        };
        let Some(sha) = made else { return Err(not_mergeable()) };
        // Written down first: whoever finds the base branch at this commit finishes the merge.
        let (id, by, merging) = (issue.id, actor.clone(), sha.clone());
        self.change(move |db| store::intend_merge(db, id, Some((&merging, &by)))).await?;
        if !bare.update_ref(&format!("refs/heads/{}", pull.base_ref), &sha, &base).await? {
            self.change(move |db| store::intend_merge(db, id, None)).await?;
            return Err(Error::NotAllowed("Base branch was modified. Review and try the merge again.".to_owned()));
        }
        self.sync_locked(repository, actor).await?;
        Ok(sha)
    }

    /// Merges the base into the head branch. Goes on when the caller hangs up.
    pub(crate) async fn update_branch(
        self: &Arc<Self>,
        repository: &Repository,
        actor: &User,
        number: i64,
        expected: Option<String>,
    ) -> Result<()> {
        let (hub, repository, actor) = (self.clone(), repository.clone(), actor.clone());
        let work = async move { hub.update_now(&repository, &actor, number, expected.as_deref()).await };
        tokio::spawn(work).await.map_err(Error::internal)?
    }

    async fn update_now(
        &self,
        repository: &Repository,
        actor: &User,
        number: i64,
        expected: Option<&str>,
    ) -> Result<()> {
        let _lock = self.lock(repository).await;
        self.sync_locked(repository, actor).await?;
        let (issue, pull) = self.pull(repository, number).await?;
        if !issue.open {
            return Err(Error::invalid("The pull request is closed."));
        }
        if pull.fork.is_some() {
            return Err(Error::Forbidden("The author of the fork does not let others change the branch.".to_owned()));
        }
        let moved = || Error::invalid("expected head sha didn’t match current head ref.");
        if expected.is_some_and(|sha| sha != pull.head_sha) {
            return Err(moved());
        }
        let bare = self.bare(repository)?;
        let (_, behind) = bare.ahead_behind(&pull.base_sha, &pull.head_sha).await?;
        if behind == 0 {
            return Err(Error::invalid("There are no new commits on the base branch."));
        }
        let message = format!("Merge branch '{}' into {}", pull.base_ref, pull.head_ref);
        let email = sync::email(actor);
        let merge =
            Merge { onto: &pull.head_sha, head: &pull.base_sha, message: &message, actor: (&actor.login, &email) };
        let Some(sha) = bare.merge_commit(&merge).await? else {
            return Err(Error::invalid("merge conflict between base and head"));
        };
        if !bare.update_ref(&format!("refs/heads/{}", pull.head_ref), &sha, &pull.head_sha).await? {
            return Err(moved());
        }
        self.sync_locked(repository, actor).await
    }
}

/// An open issue that does not exist yet.
fn stand_in(user: &User) -> Issue {
    Issue {
        id: 0,
        number: 0,
        title: String::new(),
        body: None,
        open: true,
        user: user.clone(),
        labels: Vec::new(),
        comments: 0,
        created_at: String::new(),
        updated_at: String::new(),
        closed_at: None,
        closed_by: None,
        pull: None,
    }
}
