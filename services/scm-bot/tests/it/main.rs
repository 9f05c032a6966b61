//! The whole service over real gRPC and HTTP, with scripted workers and a small GitHub.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that is wrong ends")]

mod github;
mod repository;
mod resume;
mod stories;
mod traces;
mod wire;
mod workers;
mod world;
