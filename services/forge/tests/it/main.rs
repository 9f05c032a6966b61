//! The forge as its users meet it: octocrab, git, a browser, a webhook receiver.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod api;
mod app;
mod checks;
mod contents;
mod git_http;
mod graphql;
mod hooks;
mod open;
mod pages;
mod pulls;
mod restart;
mod schema;
mod world;
