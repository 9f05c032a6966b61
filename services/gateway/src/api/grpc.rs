//! The exposed services as gRPC, beside health and reflection.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body};
use futures::StreamExt as _;
use http::{HeaderMap, Request, Response};
use kfops_core::Failure;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use tonic::{Status, server::Grpc, service::Routes};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::ServiceExt as _;

use super::{Call, EXPOSED, Face, Messages, Upstream, codec::DynamicCodec};
use crate::access::Actor;

/// Answers gRPC requests.
pub(crate) struct GrpcFace {
    upstream: Upstream,
    methods: Vec<MethodDescriptor>,
    standard: Router,
    health: HealthReporter,
    call_timeout: Duration,
    stream_timeout: Duration,
}

impl GrpcFace {
    pub(crate) async fn new(
        pool: &DescriptorPool,
        upstream: Upstream,
        call_timeout: Duration,
        stream_timeout: Duration,
    ) -> Result<Self, Failure> {
        let (health, health_service) = tonic_health::server::health_reporter();
        let mut reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(kfops_proto::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .with_service_name("grpc.health.v1.Health");
        for name in EXPOSED {
            health.set_service_status(*name, ServingStatus::Serving).await;
            reflection = reflection.with_service_name(*name);
        }
        health.set_service_status("", ServingStatus::Serving).await;
        let standard = Routes::new(health_service)
            .add_service(reflection.build_v1().map_err(Failure::internal)?)
            .prepare()
            .into_axum_router();
        let methods = pool.services().filter(|s| EXPOSED.contains(&s.full_name()));
        let methods = methods.flat_map(|s| s.methods().collect::<Vec<_>>()).collect();
        Ok(Self { upstream, methods, standard, health, call_timeout, stream_timeout })
    }

    /// Whether it is one.
    pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
        let value = headers.get(http::header::CONTENT_TYPE).map(http::HeaderValue::as_bytes);
        value.is_some_and(|v| v == b"application/grpc" || v.starts_with(b"application/grpc+proto"))
    }

    /// Whether anyone may ask: a probe has no identity.
    pub(crate) fn is_probe(path: &str) -> bool {
        path.starts_with("/grpc.health.v1.Health/")
    }

    /// A failure as gRPC says it.
    pub(crate) fn refuse(failure: &Failure) -> Response<Body> {
        kfops_rpc::status_of(failure).into_http()
    }

    /// From the first stage of the shutdown on.
    pub(crate) async fn stopping(&self) {
        for name in EXPOSED.iter().chain([&""]) {
            self.health.set_service_status(*name, ServingStatus::NotServing).await;
        }
    }

    /// Health and reflection.
    pub(crate) async fn standard(&self, request: Request<Body>) -> Response<Body> {
        match self.standard.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    /// The exposed services.
    pub(crate) async fn call(self: Arc<Self>, request: Request<Body>, actor: Actor) -> Response<Body> {
        let Some(method) = self.find(request.uri().path()) else {
            if request.uri().path().starts_with("/grpc.reflection.") {
                return self.standard(request).await;
            }
            return Status::unimplemented("there is no such method here").into_http();
        };
        let streaming = method.is_server_streaming();
        let limit = if streaming { self.stream_timeout } else { self.call_timeout };
        let deadline = timeout(request.headers()).map_or(limit, |asked| asked.min(limit));
        let mut server = Grpc::new(DynamicCodec(method.input()));
        let upstream = self.upstream.clone();
        let call =
            move |message| Call { method: method.clone(), message, actor: actor.clone(), deadline, face: Face::Grpc };
        let response = if streaming {
            let service = tower::service_fn(move |request: tonic::Request<_>| {
                let (upstream, call) = (upstream.clone(), call(request.into_inner()));
                async move { upstream.stream(call).await.map(answers).map_err(|f| kfops_rpc::status_of(&f)) }
            });
            server.server_streaming(service, request).await
        } else {
            let service = tower::service_fn(move |request: tonic::Request<_>| {
                let (upstream, call) = (upstream.clone(), call(request.into_inner()));
                async move { upstream.unary(call).await.map(tonic::Response::new).map_err(|f| kfops_rpc::status_of(&f)) }
            });
            server.unary(service, request).await
        };
        response.map(Body::new)
    }

    fn find(&self, path: &str) -> Option<MethodDescriptor> {
        let (service, method) = path.strip_prefix('/')?.split_once('/')?;
        let found = self.methods.iter().find(|m| m.name() == method && m.parent_service().full_name() == service)?;
        (!found.is_client_streaming()).then(|| found.clone())
    }
}

type Answers = futures::stream::BoxStream<'static, Result<prost_reflect::DynamicMessage, Status>>;

fn answers(messages: Messages) -> tonic::Response<Answers> {
    tonic::Response::new(messages.map(|m| m.map_err(|failure| kfops_rpc::status_of(&failure))).boxed())
}

/// `grpc-timeout`: up to 8 digits and a unit.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number = number.parse::<u64>().ok().filter(|_| number.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}
