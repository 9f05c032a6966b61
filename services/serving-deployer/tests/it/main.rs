//! The serving-deployer with real KServe servers behind a real Envoy.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod failures;
mod happy;
mod keep;
mod load;
mod models;
mod otlp;
mod restart;
mod world;
