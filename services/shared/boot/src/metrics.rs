//! `/metrics`, on an address of its own: what Prometheus may see is not what callers may.

use std::time::Duration;

use axum::{Router, http::header::CONTENT_TYPE, routing::get};
use kfops_rpc::Lifecycle;
use tokio::{net::TcpListener, time::MissedTickBehavior};

/// How often what was recorded is folded.
const FOLD: Duration = Duration::from_secs(5);

/// Begins to count and to answer; ends when the service stops.
pub(crate) async fn start(listen: &str, lifecycle: &Lifecycle) -> anyhow::Result<()> {
    let (listener, address) =
        kfops_rpc::bind(listen).await.map_err(|error| anyhow::anyhow!("telemetry.metrics_listen: {error}"))?;
    let metrics = kfops_telemetry::init_metrics()?;
    tracing::info!(%address, "metrics");
    let page = metrics.clone();
    let answer = move || {
        let text = page.text();
        async move { ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text) }
    };
    tokio::spawn(serve(listener, Router::new().route("/metrics", get(answer)), lifecycle.clone()));
    let stopping = lifecycle.stopping();
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(FOLD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => metrics.fold(),
                () = stopping.cancelled() => return,
            }
        }
    });
    Ok(())
}

async fn serve(listener: TcpListener, router: Router, lifecycle: Lifecycle) {
    let stopping = lifecycle.stopping();
    let served = axum::serve(listener, router).with_graceful_shutdown(async move { stopping.cancelled().await });
    if let Err(error) = served.await {
        tracing::warn!(%error, "metrics are not served any more");
    }
}
