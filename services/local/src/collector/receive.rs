//! OTLP/gRPC and OTLP/HTTP with protobuf bodies (OTLP specification 1.x).

use axum::{body::Bytes, extract::State, http::StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse, trace_service_server::TraceService,
};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::SpanStore;

/// The gRPC side.
pub(super) struct Grpc(pub(super) SpanStore);

#[tonic::async_trait]
impl TraceService for Grpc {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.add(request.into_inner()).await.map_err(|failure| kfops_rpc::status_of(&failure))?;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// The HTTP side.
pub(super) async fn http(State(store): State<SpanStore>, body: Bytes) -> (StatusCode, Vec<u8>) {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return (StatusCode::BAD_REQUEST, Vec::new());
    };
    match store.add(request).await {
        Ok(()) => (StatusCode::OK, ExportTraceServiceResponse::default().encode_to_vec()),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, Vec::new()),
    }
}
