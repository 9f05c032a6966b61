//! Answers in JSON; failures in the shape of `google.rpc.Status` (AIP-193).

use std::time::Duration;

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use kfops_core::Failure;
use serde_json::{Value, json};

/// A JSON answer.
pub(crate) fn json(status: StatusCode, value: &Value) -> Response {
    with_type(status, "application/json", Body::from(value.to_string()))
}

/// An answer of a given type.
pub(crate) fn with_type(status: StatusCode, content_type: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A failure, with the HTTP status that its reason maps to.
pub(crate) fn failure(failure: &Failure) -> Response {
    let value = failure_json(failure, None);
    let code = value["error"]["code"].as_u64().and_then(|code| u16::try_from(code).ok());
    finish(failure, code.and_then(|c| StatusCode::from_u16(c).ok()), &value)
}

/// A failure that HTTP has a word of its own for (405, 408, 413, 415).
pub(crate) fn failure_as(status: StatusCode, failure: &Failure) -> Response {
    finish(failure, Some(status), &failure_json(failure, Some(status)))
}

fn finish(failure: &Failure, status: Option<StatusCode>, value: &Value) -> Response {
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, value);
    if failure.retryable && (status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// `{"error": {"code", "status", "message", "details"}}`.
pub(crate) fn failure_json(failure: &Failure, status: Option<StatusCode>) -> Value {
    let mut metadata = serde_json::Map::new();
    for (key, value) in [("resource", &failure.resource), ("action", &failure.action), ("log_tail", &failure.log_tail)]
    {
        if !value.is_empty() {
            metadata.insert(key.into(), value.as_str().into());
        }
    }
    let mut details = vec![json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": failure.reason.as_str(),
        "domain": "kfops.dev",
        "metadata": metadata,
    })];
    if failure.reason == kfops_core::Reason::InvalidArgument && !failure.resource.is_empty() {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": failure.resource, "description": failure.message}],
        }));
    }
    if failure.retryable {
        let delay = format!("{}s", RETRY_DELAY.as_secs());
        details.push(json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}));
    }
    let (http, name) = crate::api::http_code(failure);
    let code = status.map_or(http, |status| status.as_u16());
    json!({"error": {"code": code, "status": name, "message": failure.message, "details": details}})
}

const RETRY_DELAY: Duration = Duration::from_secs(5);
