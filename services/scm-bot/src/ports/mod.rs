//! What scm-bot needs from outside: a ledger, GitHub, the workers, who drives, random ids.

mod election;
mod github;
mod ledger;
mod workers;

pub use election::{Election, Standing};
pub use github::{
    Annotation, Button, CheckRun, DEPLOYED_LABELS, Deployment, DeploymentState, Found, GitHub, GitHubCall, Look,
    Merged, Meter, Post, PostOutcome, Review, SentDelivery, Written, deployed_label,
};
pub use ledger::{
    Accepted, Claim, CommandPage, Compacted, Created, DEPLOYED_KEPT, Delivery, Filter, Ledger, Lock, brought_live,
    settled,
};
pub use workers::{
    BuildRecord, Live, Preview, Revision, RolloutRecord, Run, Snapshot, Version, Work, WorkResult, WorkState, Workers,
};

/// Random bytes for trace ids.
pub trait Entropy: Send + Sync + 'static {
    /// 24 bytes.
    fn trace(&self) -> [u8; 24];
}
