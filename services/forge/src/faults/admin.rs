//! The handle on faults for other processes. These routes exist only in a forge that was started with them, and only
//! for callers on this machine.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Fault, Requests, WebhookFault, Webhooks};
use crate::hub::Hub;
use crate::protection::{MergeMethods, Protection};

/// One rule, for requests or for webhooks.
#[derive(Deserialize)]
#[serde(untagged)]
enum New {
    Requests { requests: Requests, fault: Fault },
    Webhooks { webhooks: Webhooks, fault: WebhookFault },
}

#[derive(Deserialize)]
struct World {
    clock_shift_seconds: Option<i64>,
    hold_mergeable: Option<bool>,
    compute_merges_when_asked: Option<bool>,
    protect: Option<Protect>,
    merge_methods: Option<Methods>,
}

/// `owner/name`, a branch, and what it asks for from now on.
#[derive(Deserialize)]
struct Protect {
    repository: String,
    branch: String,
    protection: Protection,
}

#[derive(Deserialize)]
struct Methods {
    repository: String,
    methods: MergeMethods,
}

/// `/_forge/faults` and `/_forge/world`. A page elsewhere cannot send JSON here without asking first.
pub(crate) fn router() -> Router<Arc<Hub>> {
    Router::new()
        .route("/_forge/faults", get(list).post(add).delete(clear))
        .route("/_forge/faults/{id}", axum::routing::delete(remove))
        .route("/_forge/world", post(world))
        .layer(from_fn(here))
}

async fn here(ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request, next: Next) -> Response {
    if peer.ip().to_canonical().is_loopback() {
        return next.run(request).await;
    }
    StatusCode::NOT_FOUND.into_response()
}

async fn list(State(hub): State<Arc<Hub>>) -> Json<Value> {
    Json(hub.faults.describe())
}

async fn add(State(hub): State<Arc<Hub>>, Json(new): Json<New>) -> (StatusCode, Json<Value>) {
    let id = match new {
        New::Requests { requests, fault } => hub.faults.requests(requests, fault),
        New::Webhooks { webhooks, fault } => hub.faults.webhooks(webhooks, fault),
    };
    (StatusCode::CREATED, Json(json!({ "id": id })))
}

async fn remove(State(hub): State<Arc<Hub>>, Path(id): Path<u64>) -> StatusCode {
    hub.faults.remove(id);
    StatusCode::NO_CONTENT
}

async fn clear(State(hub): State<Arc<Hub>>) -> StatusCode {
    hub.faults.clear();
    hub.protections.clear();
    StatusCode::NO_CONTENT
}

async fn world(State(hub): State<Arc<Hub>>, Json(world): Json<World>) -> Json<Value> {
    if let Some(seconds) = world.clock_shift_seconds {
        hub.faults.shift_clock(seconds);
    }
    if let Some(hold) = world.hold_mergeable {
        hub.faults.hold_mergeable(hold);
    }
    if let Some(lazy) = world.compute_merges_when_asked {
        hub.faults.compute_merges_when_asked(lazy);
    }
    if let Some(Protect { repository, branch, protection }) = world.protect {
        hub.protections.protect(&repository, &branch, protection);
    }
    if let Some(Methods { repository, methods }) = world.merge_methods {
        hub.protections.merge_methods(&repository, methods);
    }
    Json(hub.faults.describe())
}
