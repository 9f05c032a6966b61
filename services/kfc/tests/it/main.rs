//! The real binary against the real gateway, with a scm-bot that a test controls.
#![expect(clippy::unwrap_used, reason = "a helper of a test may fail it")]

mod bot;
mod check;
mod commands;
mod kfc;
mod traces;
