//! Which of several processes over one ledger drives.

use async_trait::async_trait;
use tokio::sync::watch;

/// Where a process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Another one drives, or nobody knows yet.
    Waits,
    /// This one drives.
    Drives,
    /// It drove, and another one may by now: it must end at once, and take nothing more up.
    Lost,
}

/// Elects the process that drives.
#[async_trait]
pub trait Election: Send + Sync + 'static {
    /// Takes part, once and until `resign`. Needs a tokio runtime.
    fn campaign(&self) -> watch::Receiver<Standing>;
    /// Takes part no more; whoever waits may drive at once. Only when nothing is driven here any more.
    async fn resign(&self);
}
