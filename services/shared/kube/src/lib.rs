//! Kubernetes as the services see it: one client, one field manager, and failures in Kfops' own words.

mod client;
mod failure;
pub mod job;
mod settings;

pub use client::{FIELD_MANAGER, apply, connect};
pub use failure::{failure, optional};
pub use settings::KubernetesSettings;
