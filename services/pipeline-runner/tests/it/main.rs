//! The pipeline runner over gRPC, with the real kfp.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

mod cancel;
mod cluster;
mod collector;
mod compile;
mod harness;
mod legacy;
mod restart;
mod run;
mod sandbox;
mod store;
mod trace;
mod watch;
