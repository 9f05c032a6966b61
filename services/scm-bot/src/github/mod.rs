//! GitHub: REST and GraphQL over one transport that signs, waits, repeats and counts.
//!
//! `transport` sends one request as often as is safe; `identity` says as whom; `lane` keeps within GitHub's limits;
//! `etags` spares answers that have not changed; `graphql` reads GraphQL's errors; the rest is what is asked for.

mod address;
mod api;
mod call;
mod client;
mod deliveries;
mod etags;
mod failure;
mod find;
mod graphql;
mod identity;
mod input;
mod known;
mod label;
mod lane;
mod limit;
mod look;
mod post;
mod rest;
mod tempo;
mod token;
mod transport;
mod wire;

pub use client::GitHubClient;
pub use tempo::Tempo;
