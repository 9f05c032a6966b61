//! `kfc trace`.

use axum::{Json, Router, extract::Path, http::StatusCode, routing::get};
use serde_json::{Value, json};

use crate::kfc::World;

/// A trace store that knows every trace but those whose command is `unknown`.
async fn store(known: bool) -> String {
    let answer = move |Path(id): Path<String>| async move {
        if !known {
            return (StatusCode::NOT_FOUND, Json(json!({"error": {"message": "no trace"}})));
        }
        let span = |id: &str, parent: &str, name: &str, start: u64, end: u64| {
            json!({"traceId": "t", "spanId": id, "parentSpanId": parent, "name": name,
                   "startTimeUnixNano": format!("{start}000000000"), "endTimeUnixNano": format!("{end}000000000")})
        };
        let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": "kfops-scm-bot"}}]});
        let spans = [span("a", "", &format!("command {}", id.len()), 1, 9), span("b", "a", "gate", 1, 5)];
        let trace = json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]});
        (StatusCode::OK, Json(trace))
    };
    let (listener, address) = kfops_rpc::bind("127.0.0.1:0").await.unwrap();
    let router = Router::new().route("/v1/traces/{id}", get(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

#[tokio::test]
async fn drawn_or_as_json() {
    let world = World::new().await;
    world.kfc(&["build", "--pr", "3", "--repo", "o/r"]).await;
    let store = store(true).await;
    let said = world.kfc(&["trace", "latest", "--traces", &store]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let lines: Vec<&str> = said.out.lines().collect();
    assert!(lines[0].starts_with("trace ") && lines[0].ends_with("/build on o/r#3"), "{said:?}");
    assert!(lines[1].starts_with("command 32  █") && lines[1].contains("8.0 s  kfops-scm-bot"), "{said:?}");
    assert!(lines[2].starts_with("  gate      █") && lines[2].contains("4.0 s"), "{said:?}");
    let said = world.kfc(&["trace", "latest", "--traces", &store, "--output", "json"]).await;
    let trace: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(trace["resourceSpans"][0]["scopeSpans"][0]["spans"][1]["name"], "gate");
}

#[tokio::test]
async fn no_store_or_no_trace() {
    let world = World::new().await;
    world.kfc(&["build", "--pr", "3", "--repo", "o/r"]).await;
    let said = world.kfc(&["trace", "latest"]).await;
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("--traces"), "{said:?}");
    let said = world.kfc(&["trace", "latest", "--traces", &store(false).await]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("nothing of the trace"), "{said:?}");
    let said = world.kfc(&["trace", "latest", "--traces", "http://127.0.0.1:1"]).await;
    assert_eq!(said.code, 4, "{said:?}");
}
