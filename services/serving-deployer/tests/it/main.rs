//! The serving-deployer with real KServe servers behind a real Envoy.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod cancel;
mod cluster;
mod failures;
mod happy;
mod keep;
mod load;
mod models;
mod otlp;
mod place;
mod process;
mod requests;
mod restart;
mod stubborn;
mod world;
