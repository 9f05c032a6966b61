//! The whole system on one machine: `kfc local`. Five services, a forge, a registry, a trace store and Envoy in one process.

pub mod client;
pub mod collector;
pub mod demo;
pub mod layout;
pub mod markdown;
pub mod provision;
pub mod system;
pub mod waterfall;

mod app;
mod cli;
mod secrets;

pub use cli::{LocalArgs, run};
