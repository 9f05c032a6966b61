//! What needs more than one service.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

mod bad_input;
mod conversation;
mod fixture;
mod judge;
mod kill;
mod older_state;
mod processes;
mod verbs;
