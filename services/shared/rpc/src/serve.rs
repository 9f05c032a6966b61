//! A gRPC server with the standard health service and reflection v1.

use std::{net::SocketAddr, time::Duration};

use tokio::net::TcpListener;
use tonic::{
    service::Routes,
    transport::{Server, server::TcpIncoming},
};

use crate::{Lifecycle, measure::MeasureLayer};

/// Most streams at a time on one connection.
const STREAMS: u32 = 50_000;

/// The server could not be started or broke.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken or not ours.
    #[error("cannot listen on {0}: {1}; choose another address with `listen` in the settings")]
    Bind(String, std::io::Error),
    /// Reflection cannot be built.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The transport broke.
    #[error("serving: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Listens; port 0 picks a free one.
pub async fn bind(address: &str) -> Result<(TcpListener, SocketAddr), ServeError> {
    let bind = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bind.await.map_err(|error| ServeError::Bind(address.to_owned(), error))
}

/// Serves until the lifecycle stops. Health for "" and for every name in `services` says SERVING from the start and
/// NOT_SERVING from the first stage of the shutdown on.
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    services: &[&str],
    lifecycle: &Lifecycle,
) -> Result<(), ServeError> {
    let (reporter, health) = tonic_health::server::health_reporter();
    for name in services.iter().chain([&""]) {
        reporter.set_service_status(*name, tonic_health::ServingStatus::Serving).await;
    }
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(kfops_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let stopping = lifecycle.stopping();
    let names: Vec<String> = services.iter().map(ToString::to_string).collect();
    let shutdown = async move {
        stopping.cancelled().await;
        for name in names.iter().map(String::as_str).chain([""]) {
            reporter.set_service_status(name, tonic_health::ServingStatus::NotServing).await;
        }
    };
    // Small answers must not wait for the acknowledgement of the ones before.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = Server::builder()
        .layer(MeasureLayer)
        // Every open command may hold a Watch on the one connection between two services.
        .max_concurrent_streams(STREAMS)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .concurrency_limit_per_connection(256)
        .add_routes(routes.add_service(health).add_service(reflection).prepare())
        .serve_with_incoming_shutdown(incoming, shutdown);
    // Watches may stay open for ever: open streams get some seconds, then the connection is dropped.
    let aborting = lifecycle.stopping();
    tokio::select! {
        served = server => Ok(served?),
        () = async { aborting.cancelled().await; tokio::time::sleep(Duration::from_secs(3)).await } => Ok(()),
    }
}
