//! Ports over Kubernetes: the ledger in custom resources, and the election of the replica that drives.
//!
//! Rights that this needs, all in the namespace of scm-bot:
//!
//! | group | resource | verbs |
//! |---|---|---|
//! | kfops.dev | commands | get, list, watch, create, delete |
//! | kfops.dev | commands/status | update |
//! | kfops.dev | deliveries | get, list, create, delete |
//! | kfops.dev | targets | get, list, create |
//! | kfops.dev | targets/status | update |
//! | kfops.dev | pushes | get, list, create, update, delete |
//! | coordination.k8s.io | leases | get, create, update |
//!
//! Nobody else should write these: a Command says who asked for it, and is believed.
//!
//! There are no transactions over objects. Writes are ordered so that a process which dies between two loses nothing, and so
//! that whoever does the same again completes it: commands before the delivery that brought them, a push before the commands
//! that it overtakes. What must be true at once is read off one object: a lock counts while its holder has no outcome.

mod access;
mod changes;
mod commands;
mod compaction;
mod deliveries;
mod election;
mod ledger;
mod listing;
mod pushes;
mod record;
mod resources;
mod sequence;
mod targets;
mod term;
mod times;

pub use election::{LeaseElection, Timing};
pub use ledger::ClusterLedger;
pub use resources::{
    CommandObject, CommandSpec, CommandStatus, DeliveryObject, DeliverySpec, OriginSpec, PushObject, PushSpec,
    TargetObject, TargetSpec, TargetStatus, Unreadable,
};
pub use term::Term;
