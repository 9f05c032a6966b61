//! Connections: HTTP/1.1 and HTTP/2 on one port, slow heads cut off, two-stage shutdown.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::body::Body;
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use kfops_rpc::Lifecycle;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{access::Peer, routes::App};

/// Longest head of a request.
const MAX_HEAD: usize = 64 << 10;

/// Limits of connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) header_timeout: Duration,
    pub(crate) patience: Duration,
}

/// Accepts until the lifecycle stops, then waits for the requests under way.
pub(crate) async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    limits: Limits,
    lifecycle: &Lifecycle,
) -> std::io::Result<()> {
    let builder = Arc::new(builder(limits.header_timeout));
    let slots = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let stopping = lifecycle.stopping();
    loop {
        let accepted = tokio::select! {
            accepted = async { (Arc::clone(&slots).acquire_owned().await, listener.accept().await) } => accepted,
            () = stopping.cancelled() => break,
        };
        let (slot, (stream, peer)) = match accepted {
            (slot, Ok(accepted)) => (slot, accepted),
            (_, Err(error)) => {
                // Out of file descriptors, or a client that was gone before we looked: neither ends the service.
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (watcher, builder, app) = (graceful.watcher(), Arc::clone(&builder), Arc::clone(&app));
        tokio::spawn(async move {
            let _slot = slot;
            stream.set_nodelay(true).ok();
            let begun = CancellationToken::new();
            let service = service(app, peer, begun.clone());
            let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
            // hyper's own limit for heads begins with the first bytes of HTTP/1; this one with the connection.
            let never_begun = async {
                tokio::select! {
                    () = begun.cancelled() => std::future::pending().await,
                    () = tokio::time::sleep(limits.header_timeout) => {}
                }
            };
            tokio::select! {
                ended = watcher.watch(connection) => {
                    if let Err(error) = ended { tracing::debug!(%peer, error, "connection broke"); }
                }
                () = never_begun => tracing::debug!(%peer, "connection without a request closed"),
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.patience, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests cut off: they took longer than the gateway's patience");
    }
    Ok(())
}

fn service(
    app: Arc<App>,
    peer: SocketAddr,
    begun: CancellationToken,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = axum::response::Response,
    Error = Infallible,
    Future = impl Future<Output = Result<axum::response::Response, Infallible>> + Send + use<>,
> + Send {
    service_fn(move |request: Request<Incoming>| {
        begun.cancel();
        let app = Arc::clone(&app);
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        async move { Ok(app.answer(request).await) }
    })
}

fn builder(header_timeout: Duration) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(header_timeout).max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10))
        .max_concurrent_streams(128)
        .max_header_list_size(16 << 10);
    builder
}
