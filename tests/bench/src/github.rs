//! The part of GitHub that a `/build_run` needs, from memory: one look, one permission, one archive, one comment. Every
//! repository is the same, with as many pull requests as are asked for.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::Result;
use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Whoever comments.
pub const AUTHOR: &str = "author";

#[derive(Clone)]
struct Shared {
    archive: Bytes,
    project: Arc<str>,
    posts: Arc<AtomicU64>,
    requests: Arc<AtomicU64>,
}

/// It runs for as long as the runtime does.
#[derive(Debug)]
pub struct GitHub {
    /// Where its API is.
    pub address: SocketAddr,
    posts: Arc<AtomicU64>,
    requests: Arc<AtomicU64>,
}

impl GitHub {
    /// Serves the files of a folder as every repository's only commit.
    pub async fn start(model: &Path) -> Result<Self> {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        archive.append_dir_all("team-iris-0000000", model)?;
        let shared = Shared {
            archive: archive.into_inner()?.finish()?.into(),
            project: std::fs::read_to_string(model.join("kfops.yaml"))?.into(),
            posts: Arc::default(),
            requests: Arc::default(),
        };
        let (posts, requests) = (Arc::clone(&shared.posts), Arc::clone(&shared.requests));
        let app = Router::new()
            .route("/graphql", post(graphql))
            .route("/repos/{owner}/{name}/collaborators/{user}/permission", get(permission))
            .route("/repos/{owner}/{name}/tarball/{commit}", get(tarball))
            .with_state(shared);
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { address, posts, requests })
    }

    /// How often comments and check runs were written.
    #[must_use]
    pub fn posts(&self) -> u64 {
        self.posts.load(Ordering::Relaxed)
    }

    /// How many requests there were.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

async fn permission(State(shared): State<Shared>) -> Json<Value> {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    Json(json!({"permission": "write", "role_name": "write"}))
}

async fn tarball(State(shared): State<Shared>) -> Bytes {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    shared.archive
}

async fn graphql(State(shared): State<Shared>, Json(asked): Json<Value>) -> Json<Value> {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    let variables = &asked["variables"];
    if asked["query"].as_str().is_some_and(|text| text.starts_with("mutation")) {
        let id = shared.posts.fetch_add(1, Ordering::Relaxed);
        let comment = format!("IC_{id}");
        return Json(json!({"data": {
            "comment": {"commentEdge": {"node": {"id": comment}}, "issueComment": {"id": comment}},
            "check": {"checkRun": {"id": format!("CR_{id}")}},
        }}));
    }
    let (name, number) = (variables["name"].as_str().unwrap_or_default(), variables["number"].as_u64().unwrap_or(0));
    let digits: u64 = name.bytes().filter(u8::is_ascii_digit).fold(0, |all, digit| all * 10 + u64::from(digit - b'0'));
    let head = format!("{digits:08x}{number:032x}");
    Json(json!({"data": {"repository": {
        "id": format!("R_{name}"),
        "defaultBranchRef": {"name": "main"},
        "mergeCommitAllowed": true, "squashMergeAllowed": true, "rebaseMergeAllowed": true,
        "file0": {
            "byteSize": shared.project.len(), "isBinary": false, "isTruncated": false, "text": &*shared.project,
        },
        "label0": null,
        "bearers0": {"pageInfo": {"hasNextPage": false}, "nodes": []},
        "label1": null,
        "bearers1": {"pageInfo": {"hasNextPage": false}, "nodes": []},
        "pullRequest": {
            "id": format!("PR_{name}_{number}"), "state": "OPEN", "isDraft": false, "mergeable": "MERGEABLE", "merged": false,
            "mergeStateStatus": "CLEAN", "isMergeQueueEnabled": false,
            "mergeCommit": null, "isCrossRepository": false, "headRepository": {"id": format!("R_{name}")},
            "headRefOid": head, "baseRefName": "main", "author": {"__typename": "User", "login": AUTHOR},
            "reviews": {"pageInfo": {"hasNextPage": false, "endCursor": null}, "nodes": []},
            "commits": {"nodes": [{"commit": {"oid": head, "statusCheckRollup": null}}]},
        },
    }}}))
}
