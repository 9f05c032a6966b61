//! What scm-bot needs from outside: a ledger, GitHub, the workers, random ids.

mod github;
mod ledger;
mod workers;

pub use github::{CheckRun, GitHub, GitHubCall, Merged, Meter, Review};
pub use ledger::{Accepted, CommandPage, Created, Delivery, Filter, Ledger};
pub use workers::{Live, Run, Snapshot, Version, Work, WorkResult, WorkState, Workers};

/// Random bytes for trace ids.
pub trait Entropy: Send + Sync + 'static {
    /// 24 bytes.
    fn trace(&self) -> [u8; 24];
}
