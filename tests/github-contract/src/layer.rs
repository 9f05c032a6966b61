//! A tower layer that judges the exchanges of a server which it wraps.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::{Layer, Service};

use crate::{Judge, Violation, exchange::HttpExchange, http::is_json};

/// Makes a server judged; keeps what was wrong.
#[derive(Debug, Clone)]
pub struct JudgingLayer {
    judge: Judge,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    exchanges: usize,
    violations: Vec<Violation>,
}

/// A server that is judged.
#[derive(Debug, Clone)]
pub struct Judging<S> {
    inner: S,
    layer: JudgingLayer,
}

impl JudgingLayer {
    pub(crate) fn new(judge: Judge) -> Self {
        Self { judge, seen: Arc::default() }
    }

    /// How many exchanges it has judged, and everything that was wrong, in order.
    #[must_use]
    pub fn seen(&self) -> (usize, Vec<Violation>) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        (seen.exchanges, seen.violations.clone())
    }

    fn judge(&self, exchange: &HttpExchange) {
        let violations = self.judge.http(exchange);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.exchanges += 1;
        seen.violations.extend(violations);
    }
}

impl<S> Layer<S> for JudgingLayer {
    type Service = Judging<S>;

    fn layer(&self, inner: S) -> Judging<S> {
        Judging { inner, layer: self.clone() }
    }
}

impl<S> Service<Request<Body>> for Judging<S>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let layer = self.layer.clone();
        Box::pin(async move {
            let path = request.uri().path();
            if !path.starts_with("/api/") && !layer.judge.is_api(path) {
                return inner.call(request).await;
            }
            let (parts, body) = request.into_parts();
            let Ok(body) = body.collect().await else { return Ok(broken()) };
            let body = body.to_bytes();
            let mut exchange = HttpExchange {
                method: parts.method.to_string(),
                path: parts.uri.path().to_owned(),
                query: parts.uri.query().unwrap_or_default().to_owned(),
                accept: text(&parts.headers, header::ACCEPT.as_str()),
                request_content_type: text(&parts.headers, header::CONTENT_TYPE.as_str()),
                api_version: text(&parts.headers, "x-github-api-version"),
                request_body: value(&body),
                ..HttpExchange::default()
            };
            let response = inner.call(Request::from_parts(parts, Body::from(body))).await?;
            exchange.status = response.status().as_u16();
            exchange.response_content_type = text(response.headers(), header::CONTENT_TYPE.as_str());
            if exchange.response_content_type.as_deref().is_some_and(|kind| !is_json(kind)) {
                layer.judge(&exchange);
                return Ok(response);
            }
            let (parts, body) = response.into_parts();
            let Ok(body) = body.collect().await else { return Ok(broken()) };
            let body = body.to_bytes();
            exchange.response_body = value(&body);
            // A debug build takes its time for the first look at a schema.
            layer.judge(&exchange);
            Ok(Response::from_parts(parts, Body::from(body)))
        })
    }
}

/// What is no JSON is a string, which no schema of an object takes.
fn value(body: &Bytes) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn broken() -> Response {
    let mut response = Response::new(Body::from("the body broke off"));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}
