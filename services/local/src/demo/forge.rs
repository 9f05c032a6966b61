//! The forge as a person uses it: pull requests and comments over its REST API.

use std::time::Duration;

use kfops_core::{Failure, Reason};
use reqwest::Method;
use serde_json::{Value as Json, json};

/// One repository at the forge.
#[derive(Debug, Clone)]
pub struct Repository {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Repository {
    /// `owner/name` at the forge with this base URL, as the user of the token.
    pub fn new(forge: &str, full_name: &str, token: &str) -> Result<Self, Failure> {
        let http = reqwest::Client::builder()
            .user_agent("kfc")
            .timeout(Duration::from_secs(30))
            .build()
            .map_err(Failure::internal)?;
        Ok(Self { http, base: format!("{}/repos/{full_name}", forge.trim_end_matches('/')), token: token.to_owned() })
    }

    /// Opens a pull request; its number.
    pub async fn open_pull_request(&self, title: &str, head: &str, base: &str, body: &str) -> Result<i64, Failure> {
        let pull = self
            .call(Method::POST, "/pulls", json!({"title": title, "head": head, "base": base, "body": body}))
            .await?;
        pull["number"].as_i64().ok_or_else(|| Failure::internal("the forge gave no number"))
    }

    /// Writes a comment; its id.
    pub async fn comment(&self, pull_request: i64, body: &str) -> Result<i64, Failure> {
        let comment =
            self.call(Method::POST, &format!("/issues/{pull_request}/comments"), json!({ "body": body })).await?;
        comment["id"].as_i64().ok_or_else(|| Failure::internal("the forge gave no comment id"))
    }

    /// Merges the base into the pull request's branch.
    pub async fn update_branch(&self, pull_request: i64) -> Result<(), Failure> {
        self.call(Method::PUT, &format!("/pulls/{pull_request}/update-branch"), json!({})).await.map(drop)
    }

    /// A pull request.
    pub async fn pull_request(&self, number: i64) -> Result<Json, Failure> {
        self.call(Method::GET, &format!("/pulls/{number}"), Json::Null).await
    }

    /// Comments of a pull request.
    pub async fn comments(&self, number: i64) -> Result<Vec<Json>, Failure> {
        Ok(self
            .call(Method::GET, &format!("/issues/{number}/comments?per_page=100"), Json::Null)
            .await?
            .as_array()
            .cloned()
            .unwrap_or_default())
    }

    /// Check runs of a commit.
    pub async fn check_runs(&self, commit: &str) -> Result<Vec<Json>, Failure> {
        let runs = self.call(Method::GET, &format!("/commits/{commit}/check-runs"), Json::Null).await?;
        Ok(runs["check_runs"].as_array().cloned().unwrap_or_default())
    }

    /// Anything below the repository, e.g. `/deployments`.
    pub async fn get(&self, path: &str) -> Result<Json, Failure> {
        self.call(Method::GET, path, Json::Null).await
    }

    async fn call(&self, method: Method, path: &str, body: Json) -> Result<Json, Failure> {
        let url = format!("{}{path}", self.base);
        let away = |error: reqwest::Error| Failure::new(Reason::GithubUnavailable, format!("{url}: {error}"));
        let mut request = self.http.request(method, &url).bearer_auth(&self.token);
        if !body.is_null() {
            request = request.json(&body);
        }
        let response = request.send().await.map_err(away)?;
        let status = response.status();
        let answer: Json = response.json().await.map_err(away)?;
        if status.is_success() {
            return Ok(answer);
        }
        Err(Failure::new(
            Reason::GithubUnavailable,
            format!("{url}: {status}: {}", answer["message"].as_str().unwrap_or_default()),
        ))
    }
}
