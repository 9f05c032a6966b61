//! scm-bot: takes the comments that the gateway hands over, decides who may ask for what, and drives each command to its
//! end: images built, pipeline compiled and run, model rolled out, pull request merged and labelled. It alone talks to
//! GitHub, and it alone decides what comes next. Every command is a record in a ledger and a loop over it, observe,
//! decide, act: it may be killed at any point, and goes on from what it finds.

mod allowed;
mod api;
pub mod arguments;
pub mod cluster;
pub mod command;
pub mod decide;
pub mod delivery;
mod driver;
mod duty;
mod engine;
pub mod gate;
pub mod github;
pub mod grammar;
mod housekeeping;
mod intake;
mod line;
pub mod lineage;
pub mod local;
mod manners;
pub mod merging;
pub mod ports;
pub mod push;
mod recovery;
pub mod report;
pub mod repository;
#[cfg(test)]
mod samples;
mod service;
mod settings;
pub mod step;
pub mod verb;
pub mod workers;

pub use intake::{Taken, Webhook};
pub use service::{Handle, Ports, Service, ServiceError};
pub use settings::{
    AppSettings, GitHubSettings, LedgerSettings, MergeMethod, RecoverySettings, Settings, TargetSettings,
    TimeoutSettings, WorkerSettings,
};
