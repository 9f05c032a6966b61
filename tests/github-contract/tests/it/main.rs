//! The judge itself, the forge and the bot's client before it, and GitHub's example payloads before the bot.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends at the first surprise")]

mod client;
mod deliveries;
mod forge;
mod graphql;
mod rest;
mod webhooks;

use std::fmt::Display;

/// Everything that is wrong, a line each.
pub(crate) fn lines(all: &[impl Display]) -> String {
    all.iter().map(|one| format!("\n  {one}")).collect()
}
