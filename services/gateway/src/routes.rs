//! Which part answers which request.

use std::{sync::Arc, time::Instant};

use axum::{body::Body, response::Response};
use http::{Method, Request, StatusCode};
use kfops_core::{Failure, Reason};
use kfops_rpc::Lifecycle;
use kfops_telemetry::metrics::HTTP_SERVER;
use serde_json::json;

use crate::{
    access::{Access, Peer},
    answer,
    api::{GrpcFace, Upstream},
    rest::Rest,
    webhook::Webhooks,
};

/// Everything behind the listener.
pub(crate) struct App {
    pub(crate) access: Arc<Access>,
    pub(crate) webhooks: Webhooks,
    pub(crate) rest: Rest,
    pub(crate) grpc: Arc<GrpcFace>,
    pub(crate) upstream: Upstream,
    pub(crate) lifecycle: Lifecycle,
}

impl App {
    /// Answers one request, and measures it.
    pub(crate) async fn answer(&self, request: Request<Body>) -> Response {
        let begun = Instant::now();
        let (method, route) = labels(&request);
        let response = self.route(request).await;
        metrics::histogram!(
            HTTP_SERVER,
            "http_request_method" => method,
            "http_route" => route,
            "http_response_status_code" => response.status().as_u16().to_string(),
        )
        .record(begun.elapsed());
        response
    }

    async fn route(&self, request: Request<Body>) -> Response {
        let grpc = GrpcFace::is_grpc(request.headers());
        let get = [Method::GET, Method::HEAD].contains(request.method());
        match request.uri().path() {
            "/webhooks/github" if !grpc => return self.webhook(request).await,
            "/healthz" if get => return answer::json(StatusCode::OK, &json!({"status": "ok"})),
            "/readyz" if get => return self.ready().await,
            path if grpc && GrpcFace::is_probe(path) => return self.grpc.standard(request).await,
            _ => {}
        }
        let peer = request.extensions().get::<Peer>().copied();
        let actor = match self.access.actor(peer, request.uri(), request.headers()).await {
            Ok(actor) => actor,
            Err(failure) if grpc => return GrpcFace::refuse(&failure),
            Err(failure) => return answer::failure(&failure),
        };
        if grpc {
            return Arc::clone(&self.grpc).call(request, actor).await;
        }
        self.rest.answer(request, actor).await
    }

    async fn webhook(&self, request: Request<Body>) -> Response {
        if request.method() == Method::POST {
            return self.webhooks.receive(request).await;
        }
        let failure = Failure::new(Reason::InvalidArgument, "webhooks are sent with POST");
        let mut response = answer::failure_as(StatusCode::METHOD_NOT_ALLOWED, &failure);
        response.headers_mut().insert(http::header::ALLOW, http::HeaderValue::from_static("POST"));
        response
    }

    async fn ready(&self) -> Response {
        if self.lifecycle.stopping().is_cancelled() {
            let failure = Failure::new(Reason::WorkerUnavailable, "the gateway is stopping").on("gateway");
            return answer::failure(&failure);
        }
        match self.upstream.ready().await {
            Ok(()) => answer::json(StatusCode::OK, &json!({"status": "ready"})),
            Err(failure) => answer::failure(&failure),
        }
    }
}

/// What a request is counted as: nobody can make up values.
fn labels(request: &Request<Body>) -> (&'static str, &'static str) {
    let method = match *request.method() {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    };
    let route = match request.uri().path() {
        "/webhooks/github" => "/webhooks/github",
        "/healthz" => "/healthz",
        "/readyz" => "/readyz",
        "/openapi.json" => "/openapi.json",
        _ if GrpcFace::is_grpc(request.headers()) => "grpc",
        path if path.starts_with("/v1/commands") => "/v1/commands",
        path if path.starts_with("/v1/locks") => "/v1/locks",
        _ => "_OTHER",
    };
    (method, route)
}
