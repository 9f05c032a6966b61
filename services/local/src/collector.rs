//! Receives OTLP traces (gRPC and HTTP/protobuf on one port), keeps them, and hands them out as OTLP JSON.

mod receive;
mod spans;

use std::{net::SocketAddr, path::Path};

use axum::{
    Json, Router,
    extract::{Path as UrlPath, State},
    http::StatusCode,
    response::{Html, IntoResponse as _, Response},
    routing::{get, post},
};
use kfops_core::Failure;
use kfops_rpc::Lifecycle;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::TraceServiceServer;
use serde_json::json;
use tokio::net::TcpListener;

use spans::SpanStore;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::waterfall;

/// Columns of a waterfall in a browser.
const PAGE_WIDTH: usize = 140;
/// Most traces that the first page lists.
const INDEX: usize = 100;
/// Largest export that is taken, bytes.
const MAX_EXPORT: usize = 16 << 20;

/// Starts the collector; it ends with the lifecycle.
pub fn start(listener: TcpListener, database: &Path, lifecycle: &Lifecycle) -> Result<SocketAddr, Failure> {
    let address = listener.local_addr().map_err(Failure::internal)?;
    let store = SpanStore::open(database)?;
    let grpc = TraceServiceServer::new(receive::Grpc(store.clone())).max_decoding_message_size(MAX_EXPORT);
    let router = Router::new()
        .route("/", get(index))
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

/// The newest traces, with links to their waterfalls.
async fn index(State(store): State<SpanStore>) -> Response {
    match store.newest(INDEX).await {
        Ok(traces) => Html(index_page(&traces)).into_response(),
        Err(failure) => (StatusCode::INTERNAL_SERVER_ERROR, failure.message).into_response(),
    }
}

fn index_page(traces: &[(String, u64, String)]) -> String {
    let row = |(id, start, name): &(String, u64, String)| {
        let began = OffsetDateTime::from_unix_timestamp_nanos(i128::from(*start)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let began = began.replace_nanosecond(0).unwrap_or(began).format(&Rfc3339).unwrap_or_default();
        // Ids are hexadecimal; names come from whoever sends spans.
        format!("<li>{began} <a href=\"/traces/{id}\">{}</a> <small>{id}</small></li>\n", escaped(name))
    };
    let rows: String = traces.iter().map(row).collect();
    let list = if rows.is_empty() { "<p>Nothing was traced yet.</p>\n".into() } else { format!("<ul>\n{rows}</ul>\n") };
    format!(
        "<!doctype html><meta charset=\"utf-8\"><title>Traces</title><style>body{{font:15px monospace;margin:2em}}</style>\n\
         <h1>Traces</h1>\n{list}<p>The newest first, {INDEX} at most. <code>/v1/traces/ID</code> gives OTLP JSON; \
         <code>kfc trace COMMAND</code> draws one in a terminal.</p>\n"
    )
}

fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
        out
    })
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

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::{
        collector::trace::v1::ExportTraceServiceRequest,
        trace::v1::{ResourceSpans, ScopeSpans, Span},
    };

    use super::*;

    fn export(trace: u8, names: &[(&str, u64)]) -> ExportTraceServiceRequest {
        let span = |(index, (name, start)): (usize, &(&str, u64))| Span {
            trace_id: vec![trace; 16],
            span_id: vec![u8::try_from(index).unwrap(); 8],
            name: (*name).into(),
            start_time_unix_nano: start * 1_000_000_000,
            ..Span::default()
        };
        let spans = names.iter().enumerate().map(span).collect();
        let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
        ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
    }

    #[tokio::test]
    async fn the_first_page_lists_the_newest_traces() {
        let folder = tempfile::tempdir().unwrap();
        let (life, client) = (Lifecycle::new(), reqwest::Client::new());
        let (listener, _) = kfops_rpc::bind("127.0.0.1:0").await.unwrap();
        let address = start(listener, &folder.path().join("traces.db"), &life).unwrap();
        let get = async |path: &str| {
            let answer = client.get(format!("http://{address}{path}")).send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        };
        let (status, page) = get("/").await;
        assert!(status == 200 && page.contains("Nothing was traced yet"), "{page}");
        for one in [
            export(1, &[("gate", 1_700_000_003), ("command /build_run", 1_700_000_001)]),
            export(2, &[("<b>", 1_700_000_010)]),
        ] {
            let url = format!("http://{address}/v1/traces");
            let body = prost::Message::encode_to_vec(&one);
            let sent =
                client.post(url).header("content-type", "application/x-protobuf").body(body).send().await.unwrap();
            assert!(sent.status().is_success());
        }
        let (_, page) = get("/").await;
        let id = "01".repeat(16);
        let first = format!("<li>2023-11-14T22:13:21Z <a href=\"/traces/{id}\">command /build_run</a>");
        assert!(page.contains(&first) && page.contains(">&lt;b&gt;</a>") && !page.contains("<b>"), "{page}");
        assert!(page.find("02020202") < page.find("01010101"), "the newest first: {page}");
        let (status, drawn) = get(&format!("/traces/{id}")).await;
        assert!(status == 200 && drawn.contains("command /build_run"), "{drawn}");
        life.stop();
    }
}
