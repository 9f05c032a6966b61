//! What a branch asks for before anything is merged into it, and how its repository merges.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::model::{Issue, Pull, Repository, Role, User};
use crate::pulls::Method;
use crate::store;

/// What a branch asks for before anything is merged into it. Nothing, unless told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Protection {
    /// Approving reviews by people who may push.
    pub approvals: usize,
    /// Check runs or statuses that must have succeeded on the head.
    pub checks: Vec<String>,
    /// The head must have all commits of the branch.
    pub up_to_date: bool,
    /// Changes come through a merge queue only.
    pub merge_queue: bool,
    /// Logins of those who may merge all the same, though not past the queue.
    pub bypass: Vec<String>,
}

/// How a repository merges: in any way, unless told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MergeMethods {
    /// Merge commits.
    pub merge: bool,
    /// One commit of all.
    pub squash: bool,
    /// The commits on top of the base.
    pub rebase: bool,
}

impl Default for MergeMethods {
    fn default() -> Self {
        Self { merge: true, squash: true, rebase: true }
    }
}

#[derive(Debug, Default)]
struct Rules {
    branches: HashMap<(String, String), Protection>,
    methods: HashMap<String, MergeMethods>,
}

/// A handle on the rules for merges. Cheap to clone; not kept over a restart.
#[derive(Debug, Clone, Default)]
pub struct Protections(Arc<Mutex<Rules>>);

impl Protections {
    fn rules(&self) -> std::sync::MutexGuard<'_, Rules> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Protects a branch of a repository (`owner/name`) in place of how it was protected.
    pub fn protect(&self, repository: &str, branch: &str, protection: Protection) {
        self.rules().branches.insert((repository.to_ascii_lowercase(), branch.to_owned()), protection);
    }

    /// Has a repository (`owner/name`) merge in these ways only.
    pub fn merge_methods(&self, repository: &str, methods: MergeMethods) {
        self.rules().methods.insert(repository.to_ascii_lowercase(), methods);
    }

    /// As it was at the start.
    pub fn clear(&self) {
        *self.rules() = Rules::default();
    }

    pub(crate) fn of(&self, repository: &Repository, branch: &str) -> Protection {
        let key = (repository.full_name().to_ascii_lowercase(), branch.to_owned());
        self.rules().branches.get(&key).cloned().unwrap_or_default()
    }

    pub(crate) fn methods_of(&self, repository: &Repository) -> MergeMethods {
        self.rules().methods.get(&repository.full_name().to_ascii_lowercase()).copied().unwrap_or_default()
    }
}

impl Hub {
    /// What the protection of the base still misses; none when it is satisfied, or asks for nothing.
    pub(crate) async fn unmet(&self, repository: &Repository, issue: &Issue, pull: &Pull) -> Result<Option<String>> {
        let protection = self.protections.of(repository, &pull.base_ref);
        if protection.approvals > 0 {
            let id = issue.id;
            let reviews = self.store.read(move |db| store::reviews(db, id, store::Page::ALL)).await?;
            let mut last: HashMap<i64, (User, String)> = HashMap::new();
            for review in reviews.into_iter().filter(|review| review.state != "COMMENTED") {
                last.insert(review.user.id, (review.user, review.state));
            }
            let (mut approvals, mut wanted) = (0, false);
            for (user, state) in last.into_values() {
                if self.role(repository, &user).await? >= Role::Write {
                    approvals += usize::from(state == "APPROVED");
                    wanted |= state == "CHANGES_REQUESTED";
                }
            }
            if wanted {
                return Ok(Some("Changes were requested by a reviewer with write access.".to_owned()));
            }
            if approvals < protection.approvals {
                let text = format!("{} approving reviews are required, there are {approvals}.", protection.approvals);
                return Ok(Some(text));
            }
        }
        let missing = self.bad_contexts(repository, &pull.head_sha, Some(&protection.checks)).await?;
        Ok(missing.first().map(|name| format!("Required status check \"{name}\" is expected.")))
    }

    /// Refuses a merge that the rules of repository and branch forbid.
    pub(crate) async fn check_merge(
        &self,
        repository: &Repository,
        actor: &User,
        (issue, pull): (&Issue, &Pull),
        method: Method,
    ) -> Result<()> {
        let methods = self.protections.methods_of(repository);
        let (allowed, name) = match method {
            Method::Merge => (methods.merge, "Merge commits"),
            Method::Squash => (methods.squash, "Squash merges"),
            Method::Rebase => (methods.rebase, "Rebase merges"),
        };
        let no = |text: String| Err(Error::NotAllowed(text));
        if !allowed {
            return no(format!("{name} are not allowed on this repository."));
        }
        let protection = self.protections.of(repository, &pull.base_ref);
        if protection.merge_queue {
            return no("Changes must be made through the merge queue.".to_owned());
        }
        if protection.bypass.iter().any(|login| login.eq_ignore_ascii_case(&actor.login)) {
            return Ok(());
        }
        if let Some(text) = self.unmet(repository, issue, pull).await? {
            return no(text);
        }
        if protection.up_to_date {
            let (_, behind) = self.bare(repository)?.ahead_behind(&pull.base_sha, &pull.head_sha).await?;
            if behind > 0 {
                return no("The head branch is not up to date with the base branch.".to_owned());
            }
        }
        Ok(())
    }
}
