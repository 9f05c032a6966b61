//! Two-stage shutdown: first stop taking work, then finish what is under way.

use std::{future::Future, time::Duration};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The life of a service. Cheap to clone; every clone is the same life.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    stopping: CancellationToken,
    aborting: CancellationToken,
    tasks: TaskTracker,
}

impl Lifecycle {
    /// A new life.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends when the service is asked to stop: take no new work.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Ends when patience is over: leave work as it is, it is resumed at the next start.
    #[must_use]
    pub fn aborting(&self) -> CancellationToken {
        self.aborting.clone()
    }

    /// Starts a task that `finish` waits for.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(task);
    }

    /// First stage.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    /// Second stage: waits for the tasks up to `patience`, then tells them to abort and waits a little longer.
    /// True when everything ended by itself.
    pub async fn finish(&self, patience: Duration) -> bool {
        self.stop();
        self.tasks.close();
        if tokio::time::timeout(patience, self.tasks.wait()).await.is_ok() {
            return true;
        }
        self.aborting.cancel();
        tokio::time::timeout(Duration::from_secs(5), self.tasks.wait()).await.ok();
        false
    }
}

/// Begins the first stage at SIGTERM or SIGINT.
pub fn stop_on_signals(lifecycle: &Lifecycle) -> std::io::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let lifecycle = lifecycle.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::info!("stopping");
        lifecycle.stop();
    });
    Ok(())
}
