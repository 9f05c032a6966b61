//! A forge behind a judge, and a receiver of its webhooks.

use std::{
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    response::Response,
};
use http::{HeaderMap, StatusCode};
use kfops_forge::{Forge, Role, Settings};
use kfops_github_contract::{Judge, JudgingLayer, Violation};
use serde_json::Value;
use tokio::net::TcpListener;

type Received = Arc<Mutex<Vec<(String, Value)>>>;

/// The owner of the repository.
const OWNER: &str = "team";
/// The app that asks.
const BOT: &str = "kfops[bot]";

pub(super) struct World {
    pub(super) judge: Judge,
    pub(super) receiver: String,
    layer: JudgingLayer,
    received: Received,
    client: reqwest::Client,
    front: String,
    _forge: Forge,
    _folder: tempfile::TempDir,
}

impl World {
    pub(super) async fn start() -> Self {
        let judge = Judge::from_env().unwrap();
        let layer = judge.layer();
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        repository(&source);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = format!("http://{}", listener.local_addr().unwrap());
        let mut settings = Settings { bot_tokens_are_apps: true, ..Settings::new(folder.path().join("forge")) }
            .account(BOT, Role::Write, token(BOT))
            .account("boss", Role::Maintain, token("boss"))
            .account("author", Role::Write, token("author"))
            .account("stranger", Role::None, token("stranger"))
            .account(OWNER, Role::Admin, token(OWNER));
        // Links in answers lead through the judge, too.
        settings.public_url = Some(front.clone());
        let forge = Forge::start(settings).await.unwrap();
        forge.import_repository(OWNER, "iris", &source).await.unwrap();
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let client = client.user_agent("kfops-tests").build().unwrap();
        let behind = (client.clone(), format!("http://{}", forge.addr()));
        let app = Router::new().fallback(forward).with_state(behind).layer(layer.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let (receiver, received) = receive().await;
        Self { judge, receiver, layer, received, client, front, _forge: forge, _folder: folder }
    }

    /// What the judge saw.
    pub(super) fn seen(&self) -> (usize, Vec<Violation>) {
        self.layer.seen()
    }

    /// Status and body of a request of the bot below the repository.
    pub(super) async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.by(BOT, method, path, body).await
    }

    /// The same of the repository's owner.
    pub(super) async fn as_owner(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.by(OWNER, method, path, body).await
    }

    pub(super) async fn by(&self, login: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.send(login, method, &format!("/repos/team/iris{path}"), body).await
    }

    /// The body of a request that succeeds.
    pub(super) async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.ask(method, path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// The body of a request outside of the repository.
    pub(super) async fn at(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.send(BOT, method, path, body).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    async fn send(&self, login: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
        let url = format!("{}/api/v3{path}", self.front);
        let mut request = self.client.request(method.parse().unwrap(), url).bearer_auth(token(login));
        request = request.header("accept", "application/vnd.github+json");
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null))
    }

    /// All webhooks, when no more come.
    pub(super) async fn webhooks(&self) -> Vec<(String, Value)> {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut before = (0, Instant::now());
        loop {
            let all = self.received.lock().unwrap().clone();
            if all.len() != before.0 {
                before = (all.len(), Instant::now());
            }
            if before.0 > 0 && before.1.elapsed() > Duration::from_millis(500) || Instant::now() > deadline {
                return all;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn token(login: &str) -> String {
    format!("token-of-{login}")
}

pub(crate) fn repository(folder: &Path) {
    let git = |args: &[&str]| {
        let output = Command::new("git")
            .args(["-c", "user.name=Author", "-c", "user.email=author@example.com"])
            .args(args)
            .current_dir(folder)
            .envs([("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_CONFIG_GLOBAL", "/dev/null")])
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let commit = |path: &str, text: &str| {
        std::fs::create_dir_all(folder.join(path).parent().unwrap()).unwrap();
        std::fs::write(folder.join(path), text).unwrap();
        git(&["add", "-A"]);
        git(&["commit", "-q", "-m", "more"]);
    };
    std::fs::create_dir(folder).unwrap();
    git(&["init", "-q", "-b", "main"]);
    commit("README.md", "# iris\n");
    commit("src/train.py", "depth = 3\n");
    git(&["switch", "-q", "-c", "feature"]);
    commit("src/train.py", "depth = 4\n");
    git(&["switch", "-q", "main"]);
}

/// What the judge wraps.
pub(crate) async fn forward(State((client, forge)): State<(reqwest::Client, String)>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.headers.remove(http::header::HOST);
    let body = to_bytes(body, 10 << 20).await.unwrap();
    let sent = client.request(parts.method, format!("{forge}{path}")).headers(parts.headers).body(body).send();
    let answer = sent.await.unwrap();
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers().iter().filter(|(name, _)| *name != http::header::TRANSFER_ENCODING) {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.bytes().await.unwrap())).unwrap()
}

async fn receive() -> (String, Received) {
    let received = Received::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/webhooks/github", listener.local_addr().unwrap());
    let take = async |State(received): State<Received>, headers: HeaderMap, body: Bytes| {
        let event = headers.get("x-github-event").unwrap().to_str().unwrap().to_owned();
        received.lock().unwrap().push((event, serde_json::from_slice(&body).unwrap()));
        StatusCode::ACCEPTED
    };
    let app = Router::new().fallback(take).with_state(received.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, received)
}
