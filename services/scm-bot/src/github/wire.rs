//! GitHub's JSON, as far as it is read and written.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;

use crate::ports::CheckRun;

/// GitHub's limit is 65,536 characters; this leaves room.
const LONGEST_BODY: usize = 60_000;

#[derive(Deserialize)]
pub(super) struct Pull {
    pub(super) state: String,
    #[serde(default)]
    pub(super) merged: bool,
    #[serde(default)]
    pub(super) draft: bool,
    pub(super) mergeable: Option<bool>,
    pub(super) merge_commit_sha: Option<String>,
    pub(super) head: Side,
    pub(super) base: Side,
}

#[derive(Deserialize)]
pub(super) struct Side {
    pub(super) sha: String,
    pub(super) r#ref: String,
    pub(super) repo: Option<Repo>,
}

#[derive(Deserialize)]
pub(super) struct Repo {
    pub(super) full_name: String,
}

#[derive(Deserialize)]
pub(super) struct PermissionOf {
    pub(super) permission: String,
    pub(super) role_name: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Membership {
    pub(super) state: String,
}

#[derive(Deserialize)]
pub(super) struct Content {
    pub(super) content: String,
    pub(super) encoding: String,
}

#[derive(Deserialize)]
pub(super) struct Comparison {
    pub(super) behind_by: u64,
}

#[derive(Deserialize)]
pub(super) struct ReviewOf {
    pub(super) user: Option<User>,
    pub(super) state: String,
    pub(super) commit_id: Option<String>,
    #[serde(default)]
    pub(super) author_association: String,
}

#[derive(Deserialize)]
pub(super) struct User {
    pub(super) login: String,
}

#[derive(Deserialize)]
pub(super) struct Checks {
    pub(super) check_runs: Vec<Check>,
}

#[derive(Deserialize)]
pub(super) struct Check {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) conclusion: Option<String>,
    pub(super) external_id: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Statuses {
    pub(super) statuses: Vec<Status>,
}

#[derive(Deserialize)]
pub(super) struct Status {
    pub(super) context: String,
    pub(super) state: String,
}

#[derive(Deserialize)]
pub(super) struct Comment {
    pub(super) id: u64,
    pub(super) body: Option<String>,
    pub(super) user: Option<User>,
}

#[derive(Deserialize)]
pub(super) struct Id {
    pub(super) id: u64,
}

#[derive(Deserialize)]
pub(super) struct MergeResult {
    pub(super) sha: Option<String>,
    #[serde(default)]
    pub(super) merged: bool,
    #[serde(default)]
    pub(super) message: String,
}

#[derive(Deserialize)]
pub(super) struct Issue {
    pub(super) number: u64,
    pub(super) pull_request: Option<IgnoredAny>,
}

/// As long as GitHub takes it.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(LONGEST_BODY).collect()
}

/// A check run as GitHub takes it.
pub(super) fn check_body(check: &CheckRun) -> serde_json::Value {
    let mut body = json!({
        "name": check.name,
        "head_sha": check.commit,
        "external_id": check.external_id,
        "status": "in_progress",
        "started_at": humantime::format_rfc3339_seconds(check.started).to_string(),
        "output": {"title": check.title, "summary": cut(&check.summary)},
    });
    if let Some((conclusion, at)) = check.completed {
        body["status"] = "completed".into();
        body["conclusion"] = conclusion.into();
        body["completed_at"] = humantime::format_rfc3339_seconds(at).to_string().into();
    }
    if let Some(url) = &check.details_url {
        body["details_url"] = url.as_str().into();
    }
    body
}
