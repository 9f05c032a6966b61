//! Forgets what is old enough, and gives the space back.

use std::{sync::Arc, time::Duration};

use kfops_core::Failure;

use crate::engine::Engine;

/// How long the payload of a delivery is of use to anyone once its commands have ended.
const PAYLOADS: Duration = Duration::from_secs(24 * 3600);
/// A service that is started more often than it keeps house must keep house all the same.
const FIRST: Duration = Duration::from_secs(60);

/// Keeps house until the service stops.
pub(crate) fn start(engine: &Arc<Engine>) {
    let every = engine.settings.ledger.compact_every.get();
    if every.is_zero() {
        return;
    }
    let engine = Arc::clone(engine);
    let stopping = engine.lifecycle.stopping();
    engine.lifecycle.clone().spawn(async move {
        stopping.run_until_cancelled(keep(&engine, every)).await;
    });
}

async fn keep(engine: &Engine, every: Duration) {
    let mut pause = every.min(FIRST);
    loop {
        tokio::time::sleep(pause).await;
        pause = every;
        if let Err(failure) = tidy(engine).await {
            tracing::warn!(%failure, "the ledger was not compacted; tried again later");
        }
    }
}

/// Once.
pub(crate) async fn tidy(engine: &Engine) -> Result<(), Failure> {
    let now = engine.clock.now();
    let ago = |age: Duration| now.checked_sub(age).unwrap_or(std::time::UNIX_EPOCH);
    let settings = &engine.settings.ledger;
    let gone = engine.ledger.compact(ago(settings.deliveries.get()), ago(settings.commands.get())).await?;
    let payloads = engine.ledger.shrink(ago(PAYLOADS)).await?;
    if gone.deliveries + gone.commands + payloads > 0 {
        tracing::info!(deliveries = gone.deliveries, commands = gone.commands, payloads, "the ledger was compacted");
    }
    Ok(())
}
