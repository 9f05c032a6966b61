//! The REST API of the local system, as the demo and tests use it.

use std::time::Duration;

use kfops_core::{Failure, Reason};
use reqwest::StatusCode;
use serde_json::Value as Json;

/// Talks to a gateway and to the trace store.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    api: String,
    traces: String,
}

impl Client {
    /// For these base URLs.
    pub fn new(api: &str, traces: &str) -> Result<Self, Failure> {
        let http =
            reqwest::Client::builder().connect_timeout(Duration::from_secs(3)).build().map_err(Failure::internal)?;
        Ok(Self { http, api: api.trim_end_matches('/').into(), traces: traces.trim_end_matches('/').into() })
    }

    /// A command as JSON (proto3 JSON of `kfops.command.v1.Command`).
    pub async fn command(&self, name: &str) -> Result<Json, Failure> {
        self.get(&format!("{}/v1/{name}", self.api)).await
    }

    /// Commands of a pull request, newest first.
    pub async fn commands(&self, repository: &str, pull_request: i64) -> Result<Vec<Json>, Failure> {
        let repository = repository.replace('/', "%2F");
        let url = format!("{}/v1/commands?repository={repository}&pullRequest={pull_request}&pageSize=200", self.api);
        let page = self.get(&url).await?;
        Ok(page["commands"].as_array().cloned().unwrap_or_default())
    }

    /// A trace as OTLP JSON; None while nothing of it has arrived.
    pub async fn trace(&self, trace_id: &str) -> Result<Option<Json>, Failure> {
        match self.get(&format!("{}/v1/traces/{trace_id}", self.traces)).await {
            Ok(trace) => Ok(Some(trace)),
            Err(failure) if failure.reason == Reason::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn get(&self, url: &str) -> Result<Json, Failure> {
        let away = |error: reqwest::Error| Failure::new(Reason::WorkerUnavailable, format!("{url}: {error}"));
        let response = self.http.get(url).timeout(Duration::from_secs(10)).send().await.map_err(away)?;
        let status = response.status();
        let body: Json = response.json().await.map_err(away)?;
        if status.is_success() {
            return Ok(body);
        }
        let message = body["error"]["message"].as_str().unwrap_or("no message").to_owned();
        let reason = if status == StatusCode::NOT_FOUND { Reason::NotFound } else { Reason::Internal };
        Err(Failure::new(reason, format!("{url}: {status}: {message}")))
    }
}
