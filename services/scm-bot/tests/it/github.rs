//! A GitHub with a memory, as large as these tests need.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    extract::{Path, Query, Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, patch, post, put},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{repository, world::Events};

pub(crate) const HEAD: &str = "3f2c1e73f2c1e73f2c1e73f2c1e73f2c1e73f2c1";
pub(crate) const BOT: &str = "kfops[bot]";

#[derive(Clone)]
pub(crate) struct Pull {
    pub(crate) head: String,
    pub(crate) head_repo: String,
    pub(crate) open: bool,
    pub(crate) merged: bool,
    pub(crate) mergeable: Option<bool>,
    pub(crate) behind: u64,
    pub(crate) merges: usize,
    pub(crate) labels: BTreeSet<String>,
}

pub(crate) struct Comment {
    pub(crate) id: u64,
    pub(crate) pull: u64,
    pub(crate) user: String,
    pub(crate) body: String,
    pub(crate) edits: usize,
}

pub(crate) struct Data {
    pub(crate) pulls: BTreeMap<u64, Pull>,
    pub(crate) comments: Vec<Comment>,
    pub(crate) checks: Vec<Value>,
    pub(crate) permissions: BTreeMap<String, String>,
    /// kfops.yaml of the base branch.
    pub(crate) base: Option<String>,
    /// kfops.yaml of the head.
    pub(crate) project: String,
    /// Status and message of the next merge, if it fails.
    pub(crate) merge_refusal: Option<(u16, String)>,
    /// Requests, e.g. `GET /repos/o/r/pulls/1`.
    pub(crate) calls: Vec<String>,
    /// A request that is carried out, but answered with 502, once.
    pub(crate) garble: Option<String>,
}

#[derive(Clone)]
pub(crate) struct GitHub {
    pub(crate) data: Arc<Mutex<Data>>,
    events: Events,
}

pub(crate) fn pull() -> Pull {
    Pull {
        head: HEAD.into(),
        head_repo: "o/r".into(),
        open: true,
        merged: false,
        mergeable: Some(true),
        behind: 0,
        merges: 0,
        labels: BTreeSet::new(),
    }
}

impl GitHub {
    pub(crate) fn new(events: Events) -> Self {
        let permissions = [("author", "write"), ("stranger", "read"), ("boss", "admin")];
        let data = Data {
            pulls: [(1, pull()), (2, Pull { head: "4".repeat(40), ..pull() })].into(),
            comments: Vec::new(),
            checks: Vec::new(),
            permissions: permissions.map(|(user, has)| (user.to_owned(), has.to_owned())).into(),
            base: Some(repository::PROJECT.into()),
            project: repository::PROJECT.into(),
            merge_refusal: None,
            calls: Vec::new(),
            garble: None,
        };
        Self { data: Arc::new(Mutex::new(data)), events }
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Data) -> T) -> T {
        look(&mut self.data.lock().unwrap())
    }

    /// Bodies of the bot's comments.
    pub(crate) fn said(&self) -> Vec<String> {
        self.with(|data| data.comments.iter().filter(|c| c.user == BOT).map(|c| c.body.clone()).collect())
    }

    pub(crate) fn router(&self) -> Router {
        Router::new()
            .route("/repos/o/r/pulls/{n}", get(show_pull))
            .route("/repos/o/r/pulls/{n}/merge", put(merge))
            .route("/repos/o/r/collaborators/{user}/permission", get(permission))
            .route("/repos/o/r/contents/{*path}", get(contents))
            .route("/repos/o/r/compare/{range}", get(compare))
            .route("/repos/o/r/tarball/{sha}", get(tarball))
            .route("/repos/o/r/issues/{n}/comments", get(comments).post(comment))
            .route("/repos/o/r/issues/comments/{id}", patch(edit))
            .route("/repos/o/r/check-runs", post(check))
            .route("/repos/o/r/check-runs/{id}", patch(edit_check))
            .route("/repos/o/r/commits/{sha}/check-runs", get(checks))
            .route("/repos/o/r/issues/{n}/labels", post(label))
            .route("/repos/o/r/issues/{n}/labels/{label}", axum::routing::delete(unlabel))
            .route("/repos/o/r/issues", get(issues))
            .layer(middleware::from_fn_with_state(self.clone(), observe))
            .with_state(self.clone())
    }
}

/// Notes every request; the process under test may die before or after its effect.
async fn observe(State(github): State<GitHub>, request: Request, next: Next) -> Response {
    assert_eq!(request.headers()["authorization"], "Bearer t");
    let call = format!("{} {}", request.method(), request.uri().path());
    github.with(|data| data.calls.push(call.clone()));
    github.events.before().await;
    let response = next.run(request).await;
    github.events.after().await;
    let garbled = github.with(|data| data.garble.take_if(|garble| call.starts_with(garble.as_str())).is_some());
    if garbled { StatusCode::BAD_GATEWAY.into_response() } else { response }
}

fn missing() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({"message": "Not Found"}))).into_response()
}

async fn show_pull(State(github): State<GitHub>, Path(n): Path<u64>) -> Response {
    let Some(pull) = github.with(|data| data.pulls.get(&n).cloned()) else { return missing() };
    Json(json!({
        "number": n, "state": if pull.open { "open" } else { "closed" }, "merged": pull.merged, "draft": false,
        "mergeable": pull.mergeable, "merge_commit_sha": "m".repeat(40),
        "head": {"sha": pull.head, "ref": "$(touch x)", "repo": {"full_name": pull.head_repo}},
        "base": {"sha": "b".repeat(40), "ref": "main", "repo": {"full_name": "o/r"}},
    }))
    .into_response()
}

async fn merge(State(github): State<GitHub>, Path(n): Path<u64>, Json(body): Json<Value>) -> Response {
    github.with(|data| {
        if let Some((status, message)) = data.merge_refusal.take() {
            return (StatusCode::from_u16(status).unwrap(), Json(json!({"message": message}))).into_response();
        }
        let Some(pull) = data.pulls.get_mut(&n) else { return missing() };
        if !pull.open {
            let message = json!({"message": "Pull Request is not mergeable"});
            return (StatusCode::METHOD_NOT_ALLOWED, Json(message)).into_response();
        }
        if body["sha"] != pull.head.as_str() {
            return (StatusCode::CONFLICT, Json(json!({"message": "Head branch was modified"}))).into_response();
        }
        (pull.open, pull.merged) = (false, true);
        pull.merges += 1;
        Json(json!({"sha": "m".repeat(40), "merged": true, "message": "merged"})).into_response()
    })
}

async fn permission(State(github): State<GitHub>, Path(user): Path<String>) -> Response {
    match github.with(|data| data.permissions.get(&user).cloned()) {
        Some(has) => Json(json!({"permission": has, "role_name": has})).into_response(),
        None => missing(),
    }
}

async fn contents(State(github): State<GitHub>, Path(path): Path<String>) -> Response {
    match github.with(|data| data.base.clone()).filter(|_| path == "kfops.yaml") {
        Some(text) => {
            Json(json!({"type": "file", "encoding": "base64", "content": STANDARD.encode(text)})).into_response()
        }
        None => missing(),
    }
}

async fn compare(State(github): State<GitHub>, Path(range): Path<String>) -> Response {
    let head = range.strip_prefix("main...").unwrap().to_owned();
    let behind = github.with(|data| data.pulls.values().find(|pull| pull.head == head).map(|pull| pull.behind));
    Json(json!({"behind_by": behind.unwrap_or_default(), "ahead_by": 1})).into_response()
}

async fn tarball(State(github): State<GitHub>) -> Response {
    repository::archive(&github.with(|data| data.project.clone())).into_response()
}

async fn comments(State(github): State<GitHub>, Path(n): Path<u64>) -> Response {
    let list: Vec<Value> = github.with(|data| {
        let on = data.comments.iter().filter(|comment| comment.pull == n);
        on.map(|comment| json!({"id": comment.id, "body": comment.body, "user": {"login": comment.user}})).collect()
    });
    Json(list).into_response()
}

async fn comment(State(github): State<GitHub>, Path(n): Path<u64>, Json(body): Json<Value>) -> Response {
    let body = body["body"].as_str().unwrap().to_owned();
    let id = github.with(|data| {
        let id = 1000 + data.comments.len() as u64;
        data.comments.push(Comment { id, pull: n, user: BOT.into(), body, edits: 0 });
        id
    });
    (StatusCode::CREATED, Json(json!({"id": id}))).into_response()
}

async fn edit(State(github): State<GitHub>, Path(id): Path<u64>, Json(body): Json<Value>) -> Response {
    github.with(|data| match data.comments.iter_mut().find(|comment| comment.id == id) {
        Some(comment) => {
            comment.body = body["body"].as_str().unwrap().to_owned();
            comment.edits += 1;
            Json(json!({"id": id})).into_response()
        }
        None => missing(),
    })
}

async fn check(State(github): State<GitHub>, Json(mut body): Json<Value>) -> Response {
    let id = github.with(|data| {
        let id = 2000 + data.checks.len() as u64;
        body["id"] = id.into();
        data.checks.push(body);
        id
    });
    (StatusCode::CREATED, Json(json!({"id": id}))).into_response()
}

async fn edit_check(State(github): State<GitHub>, Path(id): Path<u64>, Json(body): Json<Value>) -> Response {
    github.with(|data| {
        let Some(check) = data.checks.iter_mut().find(|check| check["id"] == id) else { return missing() };
        for (key, value) in body.as_object().unwrap() {
            check[key] = value.clone();
        }
        Json(json!({"id": id})).into_response()
    })
}

async fn checks(
    State(github): State<GitHub>,
    Path(sha): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let list: Vec<Value> = github.with(|data| {
        let named = |check: &&Value| query.get("check_name").is_none_or(|name| check["name"] == name.as_str());
        data.checks.iter().filter(|check| check["head_sha"] == sha.as_str()).filter(named).cloned().collect()
    });
    Json(json!({"total_count": list.len(), "check_runs": list})).into_response()
}

async fn label(State(github): State<GitHub>, Path(n): Path<u64>, Json(body): Json<Value>) -> Response {
    github.with(|data| {
        let Some(pull) = data.pulls.get_mut(&n) else { return missing() };
        pull.labels.extend(body["labels"].as_array().unwrap().iter().map(|label| label.as_str().unwrap().to_owned()));
        Json(json!([])).into_response()
    })
}

async fn unlabel(State(github): State<GitHub>, Path((n, label)): Path<(u64, String)>) -> Response {
    let removed = github.with(|data| data.pulls.get_mut(&n).is_some_and(|pull| pull.labels.remove(&label)));
    if removed { Json(json!([])).into_response() } else { missing() }
}

async fn issues(State(github): State<GitHub>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    assert_eq!(query["state"], "all");
    let list: Vec<Value> = github.with(|data| {
        let bearing = data.pulls.iter().filter(|(_, pull)| pull.labels.contains(&query["labels"]));
        bearing.map(|(n, _)| json!({"number": n, "pull_request": {}})).collect()
    });
    Json(list).into_response()
}
