//! The gateway over real TCP, in front of a scm-bot that a test controls.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail it")]

mod bot;
mod cluster;
mod fuzz;
mod grpc;
mod harness;
mod lifecycle;
mod rest;
mod webhook;
