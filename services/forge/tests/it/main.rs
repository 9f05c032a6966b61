//! The forge as its users meet it: octocrab, git, a browser, a webhook receiver.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod api;
mod app;
mod apps;
mod checks;
mod contents;
mod deployments;
mod exchange;
mod faults;
mod forks;
mod git_http;
mod graphql;
mod hooks;
mod open;
mod pages;
mod places;
mod protection;
mod pulls;
mod restart;
mod schema;
mod webhooks;
mod world;
