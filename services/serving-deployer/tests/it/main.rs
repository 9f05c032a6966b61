//! The serving-deployer with real KServe servers behind a real Envoy.

mod failures;
mod happy;
mod load;
mod models;
mod otlp;
mod restart;
mod world;
