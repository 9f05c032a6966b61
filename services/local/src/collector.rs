//! Receives OTLP traces (gRPC and HTTP/protobuf on one port), keeps them, and hands them out as OTLP JSON.

mod receive;
mod spans;

use std::{net::SocketAddr, path::Path};

use axum::{
    Json, Router,
    extract::{Path as UrlPath, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use kfops_core::Failure;
use kfops_rpc::Lifecycle;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceServiceServer;
use serde_json::json;
use tokio::net::TcpListener;

use spans::SpanStore;

use crate::waterfall;

/// Columns of a waterfall in a browser.
const PAGE_WIDTH: usize = 140;
/// Largest export that is taken, bytes.
const MAX_EXPORT: usize = 16 << 20;

/// Starts the collector; it ends with the lifecycle.
pub fn start(listener: TcpListener, database: &Path, lifecycle: &Lifecycle) -> Result<SocketAddr, Failure> {
    let address = listener.local_addr().map_err(Failure::internal)?;
    let store = SpanStore::open(database)?;
    let grpc = TraceServiceServer::new(receive::Grpc(store.clone())).max_decoding_message_size(MAX_EXPORT);
    let router = Router::new()
        .route("/v1/traces", post(receive::http))
        .route("/v1/traces/{trace_id}", get(trace))
        .route("/traces/{trace_id}", get(page))
        .layer(axum::extract::DefaultBodyLimit::max(MAX_EXPORT))
        .with_state(store)
        .route_service("/opentelemetry.proto.collector.trace.v1.TraceService/{method}", grpc);
    let stopping = lifecycle.aborting();
    tokio::spawn(async move {
        let served =
            axum::serve(listener, router).with_graceful_shutdown(async move { stopping.cancelled().await }).await;
        if let Err(error) = served {
            tracing::error!(%error, "trace collector ended");
        }
    });
    Ok(address)
}

/// The waterfall as plain text: where the live comment's link leads.
async fn page(State(store): State<SpanStore>, UrlPath(trace_id): UrlPath<String>) -> (StatusCode, String) {
    match store.trace(&trace_id).await {
        Ok(Some(trace)) => (StatusCode::OK, waterfall::draw(&trace, PAGE_WIDTH)),
        Ok(None) => (StatusCode::NOT_FOUND, "nothing of this trace has arrived yet\n".into()),
        Err(failure) => (StatusCode::INTERNAL_SERVER_ERROR, failure.message),
    }
}

async fn trace(State(store): State<SpanStore>, UrlPath(trace_id): UrlPath<String>) -> Response {
    match store.trace(&trace_id).await {
        Ok(Some(trace)) => Json(trace).into_response(),
        Ok(None) => {
            (StatusCode::NOT_FOUND, Json(json!({"error": {"message": format!("no trace {trace_id}")}}))).into_response()
        }
        Err(failure) => {
            (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"error": {"message": failure.message}}))).into_response()
        }
    }
}
