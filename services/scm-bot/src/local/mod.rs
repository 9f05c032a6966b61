//! Ports over one machine.

mod entropy;
mod ledger;
mod writer;

pub use entropy::SystemEntropy;
pub use ledger::SqliteLedger;
