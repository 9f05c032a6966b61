//! Ports over one machine.

mod compaction;
mod entropy;
mod ledger;
mod locks;
mod pushes;
mod records;
mod schema;
mod writer;

pub use entropy::SystemEntropy;
pub use ledger::SqliteLedger;
