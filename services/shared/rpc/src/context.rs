//! Trace context and deadline in gRPC metadata.

use std::time::Duration;

use kfops_core::TraceContext;
use tonic::{Request, metadata::MetadataMap};

/// A request with a deadline (`grpc-timeout`) and, where there is one, a trace context (`traceparent`).
pub fn request<T>(message: T, context: Option<&TraceContext>, deadline: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    if let Some(context) = context
        && let Ok(value) = context.to_string().parse()
    {
        request.metadata_mut().insert("traceparent", value);
    }
    request
}

/// The caller's trace context.
#[must_use]
pub fn trace_context(metadata: &MetadataMap) -> Option<TraceContext> {
    TraceContext::parse(metadata.get("traceparent")?.to_str().ok()?).ok()
}
