//! The forge as its users meet it: octocrab, git, a browser, a webhook receiver.

mod api;
mod checks;
mod contents;
mod git_http;
mod hooks;
mod pages;
mod pulls;
mod restart;
mod world;
