//! A running forge, and what a program does with it directly.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use axum::middleware::from_fn_with_state;
use kfops_core::{Failure, Reason};
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::faults::{Faults, Gate, Peer};
use crate::front::Front;
use crate::git::Git;
use crate::hub::Hub;
use crate::import::Imported;
use crate::json::Urls;
use crate::model::{Pull, Role, User};
use crate::protection::Protections;
use crate::pulls::NewPull;
use crate::settings::Settings;
use crate::store::{self, NewHook, Store};
use crate::{api, deliver, faults, front, names, page, smart_http};

/// How long a lock that may be let go at once is waited for.
const LOCK_PATIENCE: std::time::Duration = std::time::Duration::from_millis(500);

/// A running forge.
#[derive(Debug)]
pub struct Forge {
    pub(crate) hub: Arc<Hub>,
    addr: SocketAddr,
    stop: CancellationToken,
    server: JoinHandle<()>,
    sender: std::sync::Mutex<Option<JoinHandle<()>>>,
    // Held as long as the folder is ours; the kernel lets go of it however we end.
    _folder: std::fs::File,
}

/// A pull request to be opened between two branches of one repository.
#[derive(Debug, Clone, Copy)]
pub struct NewPullRequest<'a> {
    /// Login; made with the role write if absent.
    pub author: &'a str,
    /// The branch to merge; `owner:branch` if it is in a fork.
    pub head: &'a str,
    /// The branch to merge it into.
    pub base: &'a str,
    /// One line.
    pub title: &'a str,
    /// Markdown; may be empty.
    pub body: &'a str,
}

impl Drop for Forge {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Forge {
    /// Starts a forge over its folder: a new one, or one that was there before, however it ended.
    ///
    /// # Errors
    /// When the folder, git or the address cannot be used.
    pub async fn start(settings: Settings) -> Result<Self, Failure> {
        let resource = format!("forge {}", settings.root.display());
        let listener = TcpListener::bind(settings.listen).await.map_err(|error| {
            Failure::new(Reason::InvalidArgument, format!("cannot listen on {}: {error}", settings.listen))
                .on(&resource)
                .action("choose another address, or end the process that holds it")
        })?;
        Self::open(settings, listener).await.map_err(|error| error.into_failure(&resource))
    }

    async fn open(settings: Settings, listener: TcpListener) -> Result<Self> {
        let addr = listener.local_addr()?;
        let folder = own(&settings.root).await?;
        let git = Git::open(&settings.root).await?;
        git.recover().await;
        let database: PathBuf = settings.root.join("forge.db");
        let store = tokio::task::spawn_blocking(move || Store::open(&database)).await.map_err(Error::internal)??;
        let urls = Urls::new(&settings.public_url.clone().unwrap_or_else(|| format!("http://{addr}")));
        let hold = settings.hold_deliveries;
        let hub = Arc::new(Hub::open(settings, store, git, urls).await?);
        hub.sync_all().await?;
        let stop = CancellationToken::new();
        let admin = if hub.settings.fault_admin { faults::router() } else { Router::new() };
        let app: Router = Router::new()
            .merge(api::router(&hub))
            .merge(smart_http::router())
            .merge(page::router())
            .merge(admin)
            .fallback(api::not_found)
            .with_state(hub.clone());
        let front = Front { hub: hub.clone(), stop: stop.clone() };
        let app = Router::new().fallback_service(app).layer(from_fn_with_state(front, front::pass));
        let (quit, service) = (stop.clone(), app.into_make_service_with_connect_info::<Peer>());
        let server = tokio::spawn(async move {
            let done = axum::serve(Gate(listener), service).with_graceful_shutdown(quit.cancelled_owned()).await;
            if let Err(error) = done {
                tracing::error!(%error, "forge stopped");
            }
        });
        let forge = Self { hub, addr, stop, server, sender: std::sync::Mutex::new(None), _folder: folder };
        if !hold {
            forge.deliver();
        }
        tracing::info!(url = forge.url(), "forge ready");
        Ok(forge)
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Base of pages and of `git clone`.
    #[must_use]
    pub fn url(&self) -> &str {
        self.hub.urls.base()
    }

    /// Base of the REST API, for octocrab's `base_uri`.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("{}/api/v3", self.url())
    }

    /// What to clone.
    #[must_use]
    pub fn clone_url(&self, owner: &str, name: &str) -> String {
        format!("{}/{owner}/{name}.git", self.url())
    }

    /// The page of a pull request.
    #[must_use]
    pub fn pull_request_url(&self, owner: &str, name: &str, number: u64) -> String {
        format!("{}/{owner}/{name}/pull/{number}", self.url())
    }

    /// How many REST requests it has answered since its start.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.hub.requests.load(Ordering::Relaxed)
    }

    /// What is to go wrong here.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.hub.faults.clone()
    }

    /// A handle on what branches ask for before a merge, and on how repositories merge.
    #[must_use]
    pub fn protections(&self) -> Protections {
        self.hub.protections.clone()
    }

    /// Starts sending webhooks, where [`Settings::hold_deliveries`] held them back.
    pub fn deliver(&self) {
        let mut sender = self.sender.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        sender.get_or_insert_with(|| tokio::spawn(deliver::run(self.hub.clone(), self.stop.clone())));
    }

    /// Stops taking requests, finishes the ones at hand for at most five seconds, and ends.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let limit = std::time::Duration::from_secs(5);
        if tokio::time::timeout(limit, &mut self.server).await.is_err() {
            self.server.abort();
        }
        let sender = self.sender.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(sender) = sender {
            sender.await.ok();
        }
    }

    /// Makes a user, or gives it another role in every repository.
    ///
    /// # Errors
    /// When the login is none.
    pub async fn create_user(&self, login: &str, role: Role) -> Result<(), Failure> {
        self.ensure_user(login, Some(role))
            .await
            .map(drop)
            .map_err(|error| error.into_failure(&format!("users/{login}")))
    }

    /// Lets a token stand for a user, besides the ones it has.
    ///
    /// # Errors
    /// When there is no such user.
    pub async fn add_token(&self, login: &str, token: &SecretString) -> Result<(), Failure> {
        use secrecy::ExposeSecret as _;
        let (name, token) = (login.to_owned(), token.expose_secret().to_owned());
        let work = self.hub.store.write(move |db| {
            let user = store::user(db, &name)?.ok_or(Error::NotFound)?;
            store::put_token(db, &user, &token)
        });
        work.await.map_err(|error| error.into_failure(&format!("users/{login}")))
    }

    /// Gives a user a role in one repository that differs from its role elsewhere.
    ///
    /// # Errors
    /// When the user or the repository is missing.
    pub async fn set_role(&self, owner: &str, name: &str, login: &str, role: Role) -> Result<(), Failure> {
        let work = async {
            let repository = self.hub.repository(owner, name).await?;
            let user = self.hub.user(login).await?.ok_or(Error::NotFound)?;
            self.hub.store.write(move |db| store::put_collaborator(db, repository.id, &user, role)).await
        };
        work.await.map_err(|error| error.into_failure(&format!("repos/{owner}/{name}")))
    }

    /// Makes an empty repository, unless it is there. Its owner becomes a user.
    ///
    /// # Errors
    /// When a name is not one that GitHub allows.
    pub async fn create_repository(&self, owner: &str, name: &str, default_branch: &str) -> Result<(), Failure> {
        let made = self.hub.create_repository(owner, name, default_branch).await;
        made.map(drop).map_err(|error| error.into_failure(&format!("repos/{owner}/{name}")))
    }

    /// Brings the branches of a repository on this machine here: a work tree or a bare one. New branches are made,
    /// others go forward; one that has other commits here (a merge, say) stays. Pull requests and webhooks follow.
    ///
    /// # Errors
    /// When the source is no repository or has no commit.
    pub async fn import_repository(&self, owner: &str, name: &str, source: &Path) -> Result<Imported, Failure> {
        let done = self.hub.import(owner, name, source).await;
        done.map_err(|error| error.into_failure(&format!("repos/{owner}/{name}")))
    }

    /// Opens a pull request, or finds the open one between these branches. Tells its number.
    ///
    /// # Errors
    /// When a branch is missing, or there is nothing to merge.
    pub async fn open_pull_request(&self, owner: &str, name: &str, new: NewPullRequest<'_>) -> Result<u64, Failure> {
        let work = async {
            let repository = self.hub.repository(owner, name).await?;
            let user = self.ensure_user(new.author, None).await?;
            let id = repository.id;
            let open = self.hub.store.read(move |db| store::open_pulls(db, id)).await?;
            let twin = open.iter().find(|issue| {
                let head = |pull: &Pull| match new.head.split_once(':') {
                    Some((owner, branch)) => {
                        pull.head_ref == branch && pull.head_owner(&repository).login.eq_ignore_ascii_case(owner)
                    }
                    None => pull.comes_from(None, new.head),
                };
                issue.pull.as_ref().is_some_and(|pull| head(pull) && pull.base_ref == new.base)
            });
            if let Some(twin) = twin {
                return Ok(twin.number);
            }
            let new = NewPull {
                title: new.title.to_owned(),
                body: Some(new.body.to_owned()).filter(|body| !body.is_empty()),
                head: new.head.to_owned(),
                base: new.base.to_owned(),
                draft: false,
            };
            Ok::<_, Error>(self.hub.open_pull(&repository, &user, new).await?.number)
        };
        let number = work.await.map_err(|error| error.into_failure(&format!("repos/{owner}/{name}/pulls")))?;
        Ok(u64::try_from(number).unwrap_or_default())
    }

    /// Writes a comment as a user. Tells its id.
    ///
    /// # Errors
    /// When the user, the repository or the pull request is missing.
    pub async fn comment(
        &self,
        owner: &str,
        name: &str,
        number: u64,
        author: &str,
        body: &str,
    ) -> Result<u64, Failure> {
        let work = async {
            let repository = self.hub.repository(owner, name).await?;
            let user = self.hub.user(author).await?.ok_or(Error::NotFound)?;
            let number = i64::try_from(number).map_err(|_| Error::NotFound)?;
            let issue = self.hub.issue(&repository, number).await?;
            Ok::<_, Error>(self.hub.add_comment(&repository, &user, &issue, body).await?.id)
        };
        let id = work.await.map_err(|error| error.into_failure(&format!("repos/{owner}/{name}/issues/{number}")))?;
        Ok(u64::try_from(id).unwrap_or_default())
    }

    /// Has a repository's events sent to an address as JSON, signed with the secret. A hook is known by its key:
    /// the same key with another address moves it, and what it still has to send goes to the new one.
    /// No events means all of them.
    ///
    /// # Errors
    /// When the repository is missing or the address is none.
    pub async fn add_hook(
        &self,
        owner: &str,
        name: &str,
        key: &str,
        url: &str,
        secret: &SecretString,
        events: &[&str],
    ) -> Result<u64, Failure> {
        use secrecy::ExposeSecret as _;
        let work = async {
            let repository = self.hub.repository(owner, name).await?;
            if !api::is_target(url) {
                return Err(Error::invalid(format!("{url:?} is no http address")));
            }
            let events = if events.is_empty() { &["*"] } else { events };
            let hook = NewHook {
                url: url.to_owned(),
                secret: Some(secret.expose_secret().to_owned()),
                form: false,
                events: events.iter().map(|&event| event.to_owned()).collect(),
                active: true,
            };
            let key = key.to_owned();
            self.hub.change(move |db| store::put_hook(db, repository.id, &key, &hook)).await
        };
        let (id, _) = work.await.map_err(|error| error.into_failure(&format!("repos/{owner}/{name}/hooks/{key}")))?;
        Ok(u64::try_from(id).unwrap_or_default())
    }

    pub(crate) async fn ensure_user(&self, login: &str, role: Option<Role>) -> Result<User> {
        if !names::is_login(login) {
            return Err(Error::invalid(format!("{login:?} is no login")));
        }
        match (self.hub.user(login).await?, role) {
            (Some(user), None) => Ok(user),
            _ => {
                let login = login.to_owned();
                self.hub.store.write(move |db| store::create_user(db, &login, role.unwrap_or(Role::Write))).await
            }
        }
    }
}

/// Makes the folder and takes it. It holds the secrets of webhooks: nobody else reads it.
async fn own(root: &Path) -> Result<std::fs::File> {
    use std::os::unix::fs::PermissionsExt as _;
    tokio::fs::create_dir_all(root).await?;
    tokio::fs::set_permissions(root, std::fs::Permissions::from_mode(0o700)).await?;
    let lock = std::fs::File::create(root.join("lock"))?;
    let begun = std::time::Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(std::fs::TryLockError::Error(error)) => return Err(error.into()),
            // Between fork and exec a child of the forge before holds its lock for a moment.
            Err(std::fs::TryLockError::WouldBlock) if begun.elapsed() < LOCK_PATIENCE => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(Error::invalid("another forge uses this folder: end it, or choose another folder"));
            }
        }
    }
}
