//! The whole service: conversations in a simulated world (`sim`), and its adapters over real gRPC.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that is wrong ends")]

mod cluster;
mod github_client;
mod grpc;
mod ledger;
mod matrix;
mod mistakes;
mod repository;
mod resume;
mod schedules;
mod sim;
mod stories;
mod traces;
mod wire;
mod workers;
mod world;
