//! The exchange log: every request with its answer and every webhook as one line of JSON, so that tests can hold all
//! of them against GitHub's description afterwards. Credentials are not in it.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use axum::http::HeaderMap;
use serde_json::{Map, Value, json};

use crate::error::Result;

/// Headers that are written down; none of them carries a credential.
const HEADERS: &[&str] = &[
    "accept",
    "content-type",
    "date",
    "etag",
    "if-none-match",
    "link",
    "location",
    "retry-after",
    "user-agent",
    "x-github-api-version",
    "x-github-api-version-selected",
    "x-github-delivery",
    "x-github-event",
    "x-github-hook-id",
    "x-github-hook-installation-target-id",
    "x-github-hook-installation-target-type",
    "x-github-media-type",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-ratelimit-resource",
    "x-ratelimit-used",
];

/// The log, open for appending.
#[derive(Debug)]
pub(crate) struct Exchange {
    file: Mutex<File>,
}

/// A request, before it is answered.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: Value,
    pub(crate) body: Value,
}

impl Exchange {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { file: Mutex::new(file) })
    }

    /// A request and its answer; none if the connection was closed without one.
    pub(crate) fn request(&self, asked: &Asked, answer: Option<(u16, Value, Value)>, fault: Option<&str>) {
        let response =
            answer.map(|(status, headers, body)| json!({ "status": status, "headers": headers, "body": body }));
        self.append(&json!({
            "kind": "request",
            "method": asked.method,
            "path": asked.path,
            "query": asked.query,
            "content_type": asked.headers["content-type"],
            "headers": asked.headers,
            "body": asked.body,
            "response": response,
            "fault": fault,
        }));
    }

    /// A webhook that was sent, or that was dropped.
    pub(crate) fn webhook(
        &self,
        event: &str,
        headers: &Map<String, Value>,
        payload: &str,
        status: u16,
        fault: Option<&str>,
    ) {
        let headers: Map<String, Value> = headers
            .iter()
            .filter(|(name, _)| HEADERS.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let body: Value = serde_json::from_str(payload).unwrap_or_default();
        self.append(&json!({
            "kind": "webhook",
            "event": event,
            "action": body["action"],
            "headers": headers,
            "body": hide(body),
            "response": { "status": status },
            "fault": fault,
        }));
    }

    fn append(&self, line: &Value) {
        let mut text = line.to_string();
        text.push('\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(text.as_bytes()) {
            tracing::error!(%error, "the exchange log cannot be written");
        }
    }
}

/// The headers that are written down.
pub(crate) fn headers(headers: &HeaderMap) -> Value {
    let kept = headers.iter().filter(|(name, _)| HEADERS.contains(&name.as_str()));
    kept.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned().into()))
        .collect::<Map<_, _>>()
        .into()
}

/// A body: JSON as it is, text as a string, and of anything else its length.
pub(crate) fn body(kind: Option<&str>, bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    match serde_json::from_slice(bytes) {
        Ok(value) => hide(value),
        Err(_) if kind.is_some_and(|kind| kind.starts_with("text/")) => String::from_utf8_lossy(bytes).into(),
        Err(_) => json!({ "bytes": bytes.len() }),
    }
}

/// Takes secrets out of a body, and leaves its shape.
fn hide(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(name, value)| match value {
                    Value::String(_)
                        if matches!(name.as_str(), "secret" | "token" | "client_secret" | "pem" | "webhook_secret") =>
                    {
                        (name, "********".into())
                    }
                    other => (name, hide(other)),
                })
                .collect(),
        ),
        Value::Array(all) => all.into_iter().map(hide).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_headers_chosen() {
        let hidden =
            hide(json!({ "config": { "secret": "s", "url": "http://x" }, "token": "t", "n": [{ "pem": "p" }] }));
        assert_eq!(
            hidden,
            json!({ "config": { "secret": "********", "url": "http://x" }, "token": "********", "n": [{ "pem": "********" }] })
        );
        let mut all = HeaderMap::new();
        all.insert("authorization", "Bearer x".parse().unwrap_or_else(|_| unreachable!()));
        all.insert("accept", "*/*".parse().unwrap_or_else(|_| unreachable!()));
        assert_eq!(headers(&all), json!({ "accept": "*/*" }));
    }
}
