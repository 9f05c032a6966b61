//! GitHub's REST API through octocrab.

mod api;
mod client;
mod wire;

pub use client::GitHubClient;
