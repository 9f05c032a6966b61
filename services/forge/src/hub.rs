//! What every part of the running forge shares: database, repositories, addresses, locks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Transaction;
use secrecy::ExposeSecret as _;
use tokio::sync::{Notify, OwnedMutexGuard};

use crate::error::{Error, Result};
use crate::exchange::Exchange;
use crate::faults::Faults;
use crate::git::{Bare, Git};
use crate::json::{Facts, Urls};
use crate::model::{Issue, Pull, Repository, Role, User};
use crate::protection::Protections;
use crate::settings::Settings;
use crate::store::{self, Store};
use crate::{clock, names};

/// Most computed merges that are remembered.
const CACHE: usize = 512;

/// Requests of one user in the current hour.
#[derive(Debug, Default)]
struct Window {
    started: i64,
    used: u32,
}

/// The forge's state, behind every handler.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) store: Store,
    pub(crate) git: Git,
    pub(crate) urls: Urls,
    pub(crate) settings: Settings,
    /// Key of the tokens in the pages' forms.
    pub(crate) form_key: String,
    /// What is to go wrong.
    pub(crate) faults: Faults,
    /// Where requests and webhooks are written down.
    pub(crate) exchange: Option<Exchange>,
    /// Something may have to be delivered.
    pub(crate) wake: Notify,
    pub(crate) requests: AtomicU64,
    locks: Mutex<HashMap<i64, Arc<tokio::sync::Mutex<()>>>>,
    windows: Mutex<HashMap<(i64, Resource), Window>>,
    merges: Mutex<HashMap<(i64, String, String), Facts>>,
    pub(crate) protections: Protections,
}

/// Requests of these kinds are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Resource {
    Core,
    Graphql,
}

impl Resource {
    /// As in `X-RateLimit-Resource`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Graphql => "graphql",
        }
    }
}

/// What the rate limit says about one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    pub(crate) limit: u32,
    pub(crate) used: u32,
    pub(crate) reset: i64,
    pub(crate) exceeded: bool,
}

impl Hub {
    pub(crate) async fn open(settings: Settings, store: Store, git: Git, urls: Urls) -> Result<Self> {
        let accounts = settings.accounts.clone();
        if let Some(bad) = accounts.iter().find(|account| !names::is_login(&account.login)) {
            return Err(Error::invalid(format!("{:?} is no login", bad.login)));
        }
        let form_key = store
            .write(move |db| {
                for account in &accounts {
                    let user = store::create_user(db, &account.login, account.role)?;
                    store::put_token(db, &user, account.token.expose_secret())?;
                }
                store::secret(db, "form")
            })
            .await?;
        let exchange = settings.exchange_log.as_deref().map(Exchange::open).transpose()?;
        Ok(Self {
            faults: Faults::new(store.shift()),
            exchange,
            store,
            git,
            urls,
            settings,
            form_key,
            wake: Notify::new(),
            requests: AtomicU64::new(0),
            locks: Mutex::default(),
            windows: Mutex::default(),
            merges: Mutex::default(),
            protections: Protections::default(),
        })
    }

    /// Changes the database, and has the webhooks sent that the change caused.
    pub(crate) async fn change<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    {
        let done = self.store.write(work).await?;
        self.wake.notify_one();
        Ok(done)
    }

    pub(crate) async fn repository(&self, owner: &str, name: &str) -> Result<Repository> {
        let (owner, name) = (owner.to_owned(), name.to_owned());
        self.store.read(move |db| store::repository(db, &owner, &name)).await?.ok_or(Error::NotFound)
    }

    pub(crate) async fn user(&self, login: &str) -> Result<Option<User>> {
        let login = login.to_owned();
        self.store.read(move |db| store::user(db, &login)).await
    }

    pub(crate) async fn issue(&self, repository: &Repository, number: i64) -> Result<Issue> {
        let id = repository.id;
        self.store.read(move |db| store::issue(db, id, number)).await?.ok_or(Error::NotFound)
    }

    /// A pull request by its number; an issue is none.
    pub(crate) async fn pull(&self, repository: &Repository, number: i64) -> Result<(Issue, Pull)> {
        let issue = self.issue(repository, number).await?;
        let pull = issue.pull.clone().ok_or(Error::NotFound)?;
        Ok((issue, pull))
    }

    pub(crate) async fn role(&self, repository: &Repository, user: &User) -> Result<Role> {
        let (id, user) = (repository.id, user.clone());
        self.store.read(move |db| store::role_in(db, id, &user)).await
    }

    pub(crate) fn bare(&self, repository: &Repository) -> Result<Bare> {
        self.git.at(&repository.owner.login, &repository.name)
    }

    /// The commit that a name from outside stands for; 404 if none.
    pub(crate) async fn commit_of(&self, repository: &Repository, name: &str) -> Result<String> {
        self.bare(repository)?.commit_of(name).await?.ok_or(Error::NotFound)
    }

    /// One change of a repository's refs at a time.
    pub(crate) async fn lock(&self, repository: &Repository) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            locks.entry(repository.id).or_default().clone()
        };
        lock.lock_owned().await
    }

    /// What git knows about a pull request as it stands.
    pub(crate) async fn facts(&self, repository: &Repository, issue: &Issue, pull: &Pull) -> Result<Facts> {
        let key = (repository.id, pull.base_sha.clone(), pull.head_sha.clone());
        let known = self.merges.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let mut facts = match known {
            Some(facts) => facts,
            None => {
                let facts = compute(&self.bare(repository)?, pull).await?;
                let mut merges = self.merges.lock().unwrap_or_else(PoisonError::into_inner);
                if merges.len() >= CACHE {
                    merges.clear();
                }
                merges.insert(key, facts.clone());
                facts
            }
        };
        if !issue.open || self.faults.mergeable_held() {
            (facts.mergeable, facts.mergeable_state) = (None, "unknown");
        } else if facts.mergeable == Some(true) {
            let strict = self.protections.of(repository, &pull.base_ref).up_to_date;
            facts.mergeable_state = if pull.draft {
                "draft"
            } else if self.unmet(repository, issue, pull).await?.is_some() {
                "blocked"
            } else if facts.behind && strict {
                "behind"
            } else if self.unstable(repository, &pull.head_sha).await? {
                "unstable"
            } else {
                "clean"
            };
        }
        Ok(facts)
    }

    /// Whether a status or check of the commit failed or is not done.
    async fn unstable(&self, repository: &Repository, sha: &str) -> Result<bool> {
        Ok(!self.bad_contexts(repository, sha, None).await?.is_empty())
    }

    /// The statuses and checks of a commit that failed or are not done; of those names, absent ones too.
    pub(crate) async fn bad_contexts(
        &self,
        repository: &Repository,
        sha: &str,
        names: Option<&[String]>,
    ) -> Result<Vec<String>> {
        let (id, sha) = (repository.id, sha.to_owned());
        let (statuses, checks) = self
            .store
            .read(move |db| {
                let statuses = store::statuses(db, id, &sha, true, store::Page::ALL)?;
                Ok((statuses, store::check_runs(db, id, &sha, true, store::Page::ALL)?))
            })
            .await?;
        let good = |conclusion: &str| matches!(conclusion, "success" | "neutral" | "skipped");
        let all: Vec<(String, bool)> = statuses
            .into_iter()
            .map(|status| (status.context, status.state == "success"))
            .chain(checks.into_iter().map(|run| {
                let done = run.fields.conclusion.as_deref().is_some_and(good);
                (run.fields.name, done)
            }))
            .collect();
        Ok(match names {
            None => all.into_iter().filter(|(_, good)| !good).map(|(name, _)| name).collect(),
            Some(names) => {
                let bad = |name: &&String| !all.iter().any(|(other, good)| other == *name && *good);
                names.iter().filter(bad).cloned().collect()
            }
        })
    }

    /// Where a user's requests stand, without counting one.
    pub(crate) fn rate(&self, user: Option<&User>, resource: Resource) -> Rate {
        let windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::unix();
        let window =
            windows.get(&(user.map_or(0, |user| user.id), resource)).filter(|window| now - window.started < 3600);
        let (started, used) = window.map_or((now, 0), |window| (window.started, window.used));
        Rate { limit: self.settings.rate_limit.unwrap_or(5000), used, reset: started + 3600, exceeded: false }
    }

    /// Takes back the newest request of a user: its answer was known already.
    pub(crate) fn uncount(&self, user: Option<&User>, resource: Resource) -> Rate {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(window) = windows.get_mut(&(user.map_or(0, |user| user.id), resource)) {
            window.used = window.used.saturating_sub(1);
        }
        drop(windows);
        self.rate(user, resource)
    }

    /// Counts a request of a user.
    pub(crate) fn count(&self, user: Option<&User>, resource: Resource) -> Rate {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let now = clock::unix();
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows.entry((user.map_or(0, |user| user.id), resource)).or_default();
        if now - window.started >= 3600 {
            *window = Window { started: now, used: 0 };
        }
        let limit = self.settings.rate_limit.unwrap_or(5000);
        let exceeded = self.settings.rate_limit.is_some() && window.used >= limit;
        window.used = (window.used + 1).min(if self.settings.rate_limit.is_some() { limit } else { limit - 1 });
        Rate { limit, used: window.used, reset: window.started + 3600, exceeded }
    }
}

async fn compute(bare: &Bare, pull: &Pull) -> Result<Facts> {
    let (base, head) = (pull.base_sha.as_str(), pull.head_sha.as_str());
    let (ahead, behind) = bare.ahead_behind(base, head).await?;
    let merge_base = bare.merge_base(base, head).await?;
    let changes = bare.changes(merge_base.as_deref(), head, false).await?;
    let merges = bare.merge_tree(base, head).await?.is_some();
    Ok(Facts {
        base_sha: base.to_owned(),
        mergeable: Some(merges),
        mergeable_state: if merges { "clean" } else { "dirty" },
        behind: behind > 0,
        commits: ahead,
        additions: changes.iter().map(|change| change.additions).sum(),
        deletions: changes.iter().map(|change| change.deletions).sum(),
        changed_files: changes.len(),
    })
}
