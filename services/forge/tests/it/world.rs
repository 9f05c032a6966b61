//! A forge with a repository, its users, and a receiver of webhooks.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use kfops_forge::{Forge, NewPullRequest, Role, Settings};
use octocrab::Octocrab;
use serde_json::Value;

pub(crate) const OWNER: &str = "team";
pub(crate) const REPO: &str = "iris";
pub(crate) const BOT: &str = "kfops[bot]";

pub(crate) struct World {
    pub(crate) forge: Forge,
    pub(crate) source: PathBuf,
    pub(crate) folder: tempfile::TempDir,
}

impl World {
    /// A repository with `main`, and a branch `feature` that is one commit ahead.
    pub(crate) async fn start() -> Self {
        Self::with(|settings| settings).await
    }

    pub(crate) async fn with(change: impl FnOnce(Settings) -> Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        std::fs::create_dir(&source).unwrap();
        git(&source, &["init", "-q", "-b", "main"]);
        commit(&source, "README.md", "# iris\n", "first");
        commit(&source, "src/train.py", "depth = 3\n", "training");
        git(&source, &["switch", "-q", "-c", "feature"]);
        commit(&source, "src/train.py", "depth = 4\n", "deeper");
        git(&source, &["switch", "-q", "main"]);
        let forge = Forge::start(change(settings(folder.path()))).await.unwrap();
        forge.import_repository(OWNER, REPO, &source).await.unwrap();
        Self { forge, source, folder }
    }

    /// Opens `feature` into `main`.
    pub(crate) async fn open(&self) -> u64 {
        self.open_from("feature", "Deeper trees", "because").await
    }

    pub(crate) async fn open_from(&self, head: &str, title: &str, body: &str) -> u64 {
        let new = NewPullRequest { author: "author", head, base: "main", title, body };
        self.forge.open_pull_request(OWNER, REPO, new).await.unwrap()
    }

    /// Another commit on a branch of the source, brought into the forge.
    pub(crate) async fn grow(&self, branch: &str, path: &str, text: &str) -> String {
        git(&self.source, &["switch", "-q", branch]);
        let sha = commit(&self.source, path, text, "more");
        let imported = self.forge.import_repository(OWNER, REPO, &self.source).await.unwrap();
        assert_eq!(imported.updated, [branch]);
        sha
    }

    pub(crate) fn crab(&self, login: &str) -> Octocrab {
        crab(&self.forge, login)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}/repos/{OWNER}/{REPO}{path}", self.forge.url())
    }

    /// A request without octocrab, to see status and headers.
    pub(crate) async fn send(&self, method: &str, path: &str, login: Option<&str>, body: Value) -> Answer {
        let mut request = client().request(method.parse().unwrap(), self.url(path));
        if let Some(login) = login {
            request = request.bearer_auth(token(login));
        }
        if !body.is_null() {
            request = request.json(&body);
        }
        ask(request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, Some(BOT), Value::Null).await
    }
}

pub(crate) async fn ask(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    Answer { status, headers, json: serde_json::from_str(&text).unwrap_or(Value::Null) }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) json: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

pub(crate) fn settings(folder: &Path) -> Settings {
    // The bot of these tests has a token, where GitHub has an App; app.rs has a real one.
    let mut settings = Settings { bot_tokens_are_apps: true, ..Settings::new(folder.join("forge")) };
    // Every exchange of every test, for whoever holds them against GitHub's description afterwards.
    if let Some(logs) = std::env::var_os("KFOPS_EXCHANGE_LOGS") {
        settings.exchange_log = Some(PathBuf::from(logs).join(format!("{}.jsonl", uuid::Uuid::new_v4())));
    }
    settings
        .account(BOT, Role::Write, token(BOT))
        .account("author", Role::Write, token("author"))
        .account("boss", Role::Maintain, token("boss"))
        .account("helper", Role::Triage, token("helper"))
        .account("stranger", Role::None, token("stranger"))
}

pub(crate) fn token(login: &str) -> String {
    format!("token-of-{login}")
}

pub(crate) fn crab(forge: &Forge, login: &str) -> Octocrab {
    let builder = Octocrab::builder().base_uri(forge.api_url()).unwrap();
    builder.personal_token(token(login)).build().unwrap()
}

pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

/// Runs git with an identity and nothing of the machine's settings.
pub(crate) fn try_git(folder: &Path, args: &[&str]) -> (bool, String) {
    let output = Command::new("git")
        .args(["-c", "user.name=Author", "-c", "user.email=author@example.com", "-c", "protocol.version=2"])
        .args(args)
        .current_dir(folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (
        output.status.success(),
        if output.status.success() { text } else { String::from_utf8_lossy(&output.stderr).into() },
    )
}

pub(crate) fn git(folder: &Path, args: &[&str]) -> String {
    let (good, text) = try_git(folder, args);
    assert!(good, "git {args:?}: {text}");
    text
}

/// The same beside the runtime, for commands that talk to the forge.
pub(crate) async fn git_there(folder: &Path, args: &[&str]) -> (bool, String) {
    let folder = folder.to_owned();
    let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
    tokio::task::spawn_blocking(move || try_git(&folder, &args.iter().map(String::as_str).collect::<Vec<_>>()))
        .await
        .unwrap()
}

pub(crate) fn commit(folder: &Path, path: &str, text: &str, message: &str) -> String {
    let file = folder.join(path);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, text).unwrap();
    git(folder, &["add", "-A"]);
    git(folder, &["commit", "-q", "-m", message]);
    git(folder, &["rev-parse", "HEAD"])
}

/// Looks until there is something, for at most 20 seconds.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// `event.action`.
    pub(crate) fn kind(&self) -> String {
        let action = self.json()["action"].as_str().map(|action| format!(".{action}")).unwrap_or_default();
        format!("{}{action}", self.header("x-github-event"))
    }
}

/// An HTTP server that keeps what it gets and answers with a status that can be changed.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    got: Arc<Mutex<Vec<Received>>>,
    status: Arc<AtomicU16>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/webhooks/github", listener.local_addr().unwrap());
        let receiver = Self { url, got: Arc::default(), status: Arc::new(AtomicU16::new(202)) };
        let app = Router::new().fallback(take).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        receiver
    }

    pub(crate) fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    pub(crate) fn all(&self) -> Vec<Received> {
        self.got.lock().unwrap().clone()
    }

    pub(crate) fn kinds(&self) -> Vec<String> {
        self.all().iter().map(Received::kind).collect()
    }

    /// The first delivery of that kind.
    pub(crate) async fn wait(&self, kind: &str) -> Received {
        until(kind, async || self.all().into_iter().find(|one| one.kind() == kind)).await
    }

    pub(crate) async fn wait_count(&self, count: usize) -> Vec<Received> {
        until("enough deliveries", async || Some(self.all()).filter(|all| all.len() >= count)).await
    }
}

async fn take(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    receiver.got.lock().unwrap().push(Received { headers, body });
    StatusCode::from_u16(receiver.status.load(Ordering::SeqCst)).unwrap()
}
