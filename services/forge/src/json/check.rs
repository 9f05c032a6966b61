//! Check runs, commit statuses and deployments as JSON.

use serde_json::{Value, json};

use super::{Urls, encode, node, user};
use crate::model::{CheckRun, Issue, Repository, Status, User};
use crate::store::Deployment;

fn app(urls: &Urls, id: i64, bot: &User) -> Value {
    let slug = bot.login.trim_end_matches("[bot]");
    json!({
        "id": id,
        "slug": slug,
        "node_id": node("A", id),
        "owner": user(urls, bot),
        "name": slug,
        "description": "",
        "external_url": urls.base(),
        "html_url": format!("{}/apps/{slug}", urls.base()),
        "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
        "permissions": {},
        "events": [],
    })
}

/// A check run, with the pull requests whose head its commit is.
pub(crate) fn check_run(urls: &Urls, repository: &Repository, run: &CheckRun, pulls: &[Issue]) -> Value {
    let api = urls.api(repository);
    let url = format!("{api}/check-runs/{}", run.id);
    let repo = |url: &str| json!({ "id": repository.id, "url": url, "name": repository.name });
    let pulls: Vec<Value> = pulls
        .iter()
        .filter(|issue| issue.open)
        .filter_map(|issue| {
            // GitHub names none that come from a fork.
            let pull = issue.pull.as_ref().filter(|pull| pull.fork.is_none())?;
            Some(json!({
                "id": issue.id,
                "number": issue.number,
                "url": format!("{api}/pulls/{}", issue.number),
                "head": { "ref": pull.head_ref, "sha": pull.head_sha, "repo": repo(&api) },
                "base": { "ref": pull.base_ref, "sha": pull.base_sha, "repo": repo(&api) },
            }))
        })
        .collect();
    let fields = &run.fields;
    // Every run is a suite of its own.
    let begun = fields.started_at.as_deref().unwrap_or("2026-01-01T00:00:00Z");
    let suite = json!({
        "id": run.suite,
        "node_id": node("CS", run.suite),
        "head_branch": pulls.first().map(|pull| &pull["head"]["ref"]),
        "head_sha": run.head_sha,
        "status": if matches!(fields.status.as_str(), "in_progress" | "completed") { &fields.status } else { "queued" },
        "conclusion": fields.conclusion.as_deref().filter(|&conclusion| conclusion != "skipped"),
        "url": format!("{api}/check-suites/{}", run.suite),
        "before": null,
        "after": run.head_sha,
        "pull_requests": pulls,
        "app": app(urls, run.app_id, &run.app),
        "created_at": begun,
        "updated_at": fields.completed_at.as_deref().unwrap_or(begun),
    });
    json!({
        "id": run.id,
        "node_id": node("CR", run.id),
        "head_sha": run.head_sha,
        "external_id": fields.external_id.clone().unwrap_or_default(),
        "url": url,
        "html_url": format!("{}/runs/{}", urls.html(repository), run.id),
        "details_url": fields.details_url.as_ref().or(Some(&url)),
        "status": fields.status,
        "conclusion": fields.conclusion,
        "started_at": fields.started_at,
        "completed_at": fields.completed_at,
        "output": {
            "title": fields.title,
            "summary": fields.summary,
            "text": fields.text,
            "annotations_count": fields.annotations.len(),
            "annotations_url": format!("{url}/annotations"),
        },
        "name": fields.name,
        "check_suite": suite,
        "app": app(urls, run.app_id, &run.app),
        "pull_requests": pulls,
    })
}

/// An annotation as it was sent, and where its file is.
pub(crate) fn annotation(urls: &Urls, repository: &Repository, sha: &str, sent: &Value) -> Value {
    let path = sent["path"].as_str().unwrap_or_default();
    json!({
        "path": path,
        "blob_href": format!("{}/blob/{sha}/{}", urls.html(repository), encode(path)),
        "start_line": sent["start_line"],
        "start_column": sent["start_column"],
        "end_line": sent["end_line"],
        "end_column": sent["end_column"],
        "annotation_level": sent["annotation_level"],
        "title": sent["title"],
        "message": sent["message"],
        "raw_details": sent["raw_details"],
    })
}

/// A commit status.
pub(crate) fn status(urls: &Urls, repository: &Repository, sha: &str, status: &Status) -> Value {
    json!({
        "id": status.id,
        "node_id": node("SC", status.id),
        "url": format!("{}/statuses/{sha}", urls.api(repository)),
        "avatar_url": user(urls, &status.creator)["avatar_url"],
        "state": status.state,
        "description": status.description,
        "target_url": status.target_url,
        "context": status.context,
        "created_at": status.created_at,
        "updated_at": status.created_at,
        "creator": user(urls, &status.creator),
    })
}

/// The newest statuses of a commit, and what they come to.
pub(crate) fn combined_status(urls: &Urls, repository: &Repository, sha: &str, statuses: &[Status]) -> Value {
    let has = |state: &str| statuses.iter().any(|status| status.state == state);
    let state = match statuses {
        _ if has("failure") || has("error") => "failure",
        [] => "pending",
        _ if has("pending") => "pending",
        _ => "success",
    };
    json!({
        "state": state,
        "sha": sha,
        "total_count": statuses.len(),
        "statuses": statuses.iter().map(|one| status(urls, repository, sha, one)).collect::<Vec<_>>(),
        "repository": super::repository(urls, repository, None),
        "commit_url": format!("{}/commits/{sha}", urls.api(repository)),
        "url": format!("{}/commits/{sha}/status", urls.api(repository)),
    })
}

fn field(row: &Deployment, name: &str) -> Value {
    row.fields.get(name).cloned().unwrap_or(Value::Null)
}

/// A deployment.
pub(crate) fn deployment(urls: &Urls, repository: &Repository, row: &Deployment) -> Value {
    let api = urls.api(repository);
    let url = format!("{api}/deployments/{}", row.id);
    let or =
        |name: &str, default: Value| row.fields.get(name).filter(|value| !value.is_null()).cloned().unwrap_or(default);
    json!({
        "url": url,
        "id": row.id,
        "node_id": node("DE", row.id),
        "sha": row.sha,
        "ref": field(row, "ref"),
        "task": or("task", "deploy".into()),
        "payload": or("payload", json!({})),
        "original_environment": row.environment,
        "environment": row.environment,
        "description": field(row, "description"),
        "creator": user(urls, &row.creator),
        "created_at": row.created_at,
        "updated_at": row.created_at,
        "statuses_url": format!("{url}/statuses"),
        "repository_url": api,
        "transient_environment": or("transient_environment", false.into()),
        "production_environment": or("production_environment", (row.environment == "production").into()),
    })
}

/// A status of a deployment.
pub(crate) fn deployment_status(urls: &Urls, repository: &Repository, row: &Deployment) -> Value {
    let api = urls.api(repository);
    let deployment = format!("{api}/deployments/{}", row.parent.unwrap_or_default());
    let mut value = json!({
        "url": format!("{deployment}/statuses/{}", row.id),
        "id": row.id,
        "node_id": node("DS", row.id),
        "state": field(row, "state"),
        "creator": user(urls, &row.creator),
        "description": row.fields.get("description").cloned().unwrap_or_else(|| "".into()),
        "environment": row.environment,
        "target_url": "",
        "created_at": row.created_at,
        "updated_at": row.created_at,
        "deployment_url": deployment,
        "repository_url": api,
    });
    for (name, from) in [("target_url", "log_url"), ("log_url", "log_url"), ("environment_url", "environment_url")] {
        let text = |from: &str| row.fields.get(from).filter(|url| url.as_str().is_some_and(|url| !url.is_empty()));
        if let Some(url) = text(from).or_else(|| text(name)) {
            value[name] = url.clone();
        }
    }
    value
}
