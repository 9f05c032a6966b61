//! The server, and a client that is in a hurry.

use std::{
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
};
use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::stream;
use kfops_core::Clock;
use kfops_scm_bot::{
    AppSettings, GitHubSettings,
    command::Repository,
    github::{GitHubClient, Tempo},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A request that came.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) line: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// What is said to it.
pub(super) enum Say {
    Json(u16, Value),
    With(u16, Vec<(&'static str, String)>, Value),
    /// The connection breaks within the answer.
    Half,
    /// Nothing, for longer than anybody waits.
    Hang,
}

pub(super) fn ok(value: Value) -> Say {
    Say::Json(200, value)
}

type Answers = Arc<dyn Fn(&Seen, usize) -> Say + Send + Sync>;

#[derive(Clone)]
pub(super) struct Server {
    seen: Arc<Mutex<Vec<Seen>>>,
    answers: Answers,
    pub(super) url: String,
}

impl Server {
    /// `answers` hears each request, and how many of its like came before.
    pub(super) async fn start(answers: impl Fn(&Seen, usize) -> Say + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { seen: Arc::default(), answers: Arc::new(answers), url };
        let router = Router::new().fallback(answer).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.line).collect()
    }

    /// How many requests of this line came.
    pub(super) fn count(&self, line: &str) -> usize {
        self.lines().iter().filter(|seen| seen.contains(line)).count()
    }

    pub(super) fn settings(&self) -> GitHubSettings {
        GitHubSettings { api_url: format!("{}/api/v3/", self.url), ..GitHubSettings::default() }
    }

    pub(super) fn client(&self, token: &str) -> GitHubClient {
        let settings = GitHubSettings { token: Some(token.into()), ..self.settings() };
        GitHubClient::with_tempo(&settings, tempo(), Arc::new(TestClock::default())).unwrap()
    }

    pub(super) fn app(&self, clock: Arc<TestClock>) -> GitHubClient {
        let app =
            AppSettings { id: "Iv1.client".into(), private_key: Some(KEY.clone().into()), ..AppSettings::default() };
        let settings = GitHubSettings { app: Some(app), ..self.settings() };
        GitHubClient::with_tempo(&settings, tempo(), clock).unwrap()
    }
}

async fn answer(State(server): State<Server>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let seen = Seen {
        line: format!("{} {}", parts.method, parts.uri),
        headers: parts.headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    let before = {
        let mut all = server.seen.lock().unwrap();
        all.push(seen.clone());
        all.iter().filter(|one| one.line == seen.line).count() - 1
    };
    let (status, headers, body) = match (server.answers)(&seen, before) {
        Say::Json(status, body) => (status, Vec::new(), body),
        Say::With(status, headers, body) => (status, headers, body),
        Say::Hang => std::future::pending().await,
        Say::Half => {
            let parts = [Ok(Bytes::from_static(b"{\"half\":")), Err(std::io::Error::other("broken"))];
            return Response::new(Body::from_stream(stream::iter(parts)));
        }
    };
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    let body = if status == 304 { Body::empty() } else { Body::from(body.to_string()) };
    response.body(body).unwrap()
}

/// Short waits, so that no test waits long.
pub(super) fn tempo() -> Tempo {
    Tempo {
        timeout: Duration::from_millis(700),
        patience: Duration::from_millis(900),
        backoff: Duration::from_millis(5),
        tries: 3,
        secondary: Duration::from_millis(60),
        spacing: Duration::from_millis(5),
        burst: 5,
        at_once: 4,
    }
}

/// A clock that is wrong by so many seconds.
#[derive(Default)]
pub(super) struct TestClock(AtomicI64);

impl TestClock {
    pub(super) fn wrong_by(seconds: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(seconds)))
    }

    pub(super) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> SystemTime {
        let by = self.0.load(Ordering::SeqCst);
        let span = Duration::from_secs(by.unsigned_abs());
        if by < 0 { SystemTime::now() - span } else { SystemTime::now() + span }
    }
}

pub(super) static KEY: LazyLock<String> = LazyLock::new(|| {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64_STANDARD.encode(der.as_ref()))
});

pub(super) fn repository() -> Repository {
    Repository::parse("o/r").unwrap()
}

/// What `permission` reads.
pub(super) fn admin() -> Value {
    json!({"permission": "admin", "role_name": "admin"})
}
