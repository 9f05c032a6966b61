//! One request: its identity, its pace, its deadline, its size.

use std::{path::PathBuf, time::Duration};

use kfops_core::{Failure, Reason};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, redirect};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::{sync::Mutex, time::Instant};

use super::problem::{Problem, said};
use crate::cluster::settings::KfpSettings;

/// Longest answer that is read, bytes. A run with thousands of tasks takes some megabytes.
const LIMIT: usize = 64 << 20;
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest file with a token, bytes.
const TOKEN: u64 = 64 << 10;

/// What a request carries.
pub(super) enum Body {
    Empty,
    Json(Vec<u8>),
    /// With its content type.
    Multipart(String, Vec<u8>),
}

/// A client of one KFP installation.
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<PathBuf>,
    pub(super) namespace: Option<String>,
    interval: Duration,
    /// When the next request may go out.
    next: Mutex<Instant>,
}

impl Client {
    pub(crate) fn new(settings: &KfpSettings) -> Result<Self, Failure> {
        let http = reqwest::Client::builder()
            .timeout(settings.request_timeout.get())
            .connect_timeout(CONNECT.min(settings.request_timeout.get()))
            // A login page is no answer.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| Failure::new(Reason::InvalidArgument, format!("no client for KFP: {error}")).on("kfp"))?;
        Ok(Self {
            http,
            base: format!("{}/apis/v2beta1/", settings.url.trim_end_matches('/')),
            token: settings.token.clone(),
            namespace: settings.namespace.clone(),
            interval: Duration::from_secs_f64(1.0 / settings.requests_per_second),
            next: Mutex::new(Instant::now()),
        })
    }

    /// One request, and its answer as JSON.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Body,
    ) -> Result<T, Problem> {
        let token = self.token().await?;
        self.wait_for_turn().await;
        let mut request = self.http.request(method, format!("{}{path}", self.base)).query(query);
        if let Some(token) = token {
            request = request.bearer_auth(token.expose_secret());
        }
        request = match body {
            Body::Empty => request,
            Body::Json(bytes) => request.header("content-type", "application/json").body(bytes),
            Body::Multipart(kind, bytes) => request.header("content-type", kind).body(bytes),
        };
        let mut answer = request.send().await.map_err(|error| unsent_or_unanswered(&error))?;
        let status = answer.status().as_u16();
        let mut bytes = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(|error| Problem::Unanswered(plain(&error)))? {
            if bytes.len() + piece.len() > LIMIT {
                return Err(Problem::Unanswered(format!("the answer is longer than {LIMIT} bytes")));
            }
            bytes.extend_from_slice(&piece);
        }
        if !(200..300).contains(&status) {
            return Err(said(status, &bytes));
        }
        let strange =
            |error: &dyn std::fmt::Display| Problem::Unanswered(format!("the answer is not KFP's JSON: {error}"));
        match serde_json::from_slice(&bytes) {
            Ok(object @ Value::Object(_)) => serde_json::from_value(object).map_err(|error| strange(&error)),
            // A list would be taken for a message's fields in their order.
            Ok(_) => Err(strange(&"no object")),
            Err(error) => Err(strange(&error)),
        }
    }

    /// Read anew each time: the kubelet replaces it before it ends.
    async fn token(&self) -> Result<Option<SecretString>, Problem> {
        let Some(path) = &self.token else { return Ok(None) };
        let unreadable = |why: String| Problem::Unsent(format!("token {}: {why}", path.display()));
        let length = tokio::fs::metadata(path).await.map_err(|error| unreadable(error.to_string()))?.len();
        if length > TOKEN {
            return Err(unreadable(format!("larger than {TOKEN} bytes")));
        }
        let text = tokio::fs::read_to_string(path).await.map_err(|error| unreadable(error.to_string()))?;
        match text.trim() {
            "" => Err(unreadable("empty".into())),
            text if !text.chars().all(|c| c.is_ascii_graphic()) => Err(unreadable("not a token".into())),
            text => Ok(Some(SecretString::from(text))),
        }
    }

    /// Requests go out at the interval of the settings, in the order in which they came.
    async fn wait_for_turn(&self) {
        let turn = {
            let mut next = self.next.lock().await;
            let turn = (*next).max(Instant::now());
            *next = turn + self.interval;
            turn
        };
        tokio::time::sleep_until(turn).await;
    }
}

/// A part of a path that may hold anything.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn unsent_or_unanswered(error: &reqwest::Error) -> Problem {
    if error.is_connect() || error.is_builder() {
        Problem::Unsent(plain(error))
    } else {
        Problem::Unanswered(plain(error))
    }
}

/// The error with its causes, without the URL.
fn plain(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() { "time limit reached".to_owned() } else { String::new() };
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(inner) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    if text.is_empty() { "the request failed".into() } else { text }
}
