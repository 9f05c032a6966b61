//! How long calls take, for Prometheus.

use std::{
    task::{Context, Poll},
    time::Instant,
};

use futures::future::BoxFuture;
use http::{Request, Response};
use tonic::{Code, Status};
use tower::{Layer, Service};

/// Measures every call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MeasureLayer;

/// A service whose calls are measured.
#[derive(Debug, Clone)]
pub(crate) struct Measured<S>(S);

impl<S> Layer<S> for MeasureLayer {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Measured<S> {
        Measured(inner)
    }
}

impl<S, B, A> Service<Request<B>> for Measured<S>
where
    S: Service<Request<B>, Response = Response<A>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let begun = Instant::now();
        let method = request.uri().path().trim_start_matches('/').to_owned();
        let answered = self.0.call(request);
        Box::pin(async move {
            let response = answered.await?;
            let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
            // Whoever calls what does not exist must not make up labels.
            let method = if code == Code::Unimplemented { "_OTHER".to_owned() } else { method };
            metrics::histogram!(
                kfops_telemetry::metrics::RPC_SERVER,
                "rpc_method" => method,
                "rpc_response_status_code" => name(code),
            )
            .record(begun.elapsed());
            Ok(response)
        })
    }
}

/// As the gRPC specification writes it: `NOT_FOUND`.
fn name(code: Code) -> String {
    let camel = format!("{code:?}");
    if code == Code::Ok {
        return camel.to_uppercase();
    }
    let mut name = String::with_capacity(camel.len() + 2);
    for letter in camel.chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_written_as_in_the_specification() {
        assert_eq!(
            [Code::Ok, Code::NotFound, Code::DeadlineExceeded].map(name),
            ["OK", "NOT_FOUND", "DEADLINE_EXCEEDED"]
        );
    }
}
