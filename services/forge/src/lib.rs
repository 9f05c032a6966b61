//! A small GitHub over real git repositories, for one machine: local mode and tests.
//!
//! It speaks GitHub's REST API (at `/` and `/api/v3`), its GraphQL (`/graphql`, `/api/graphql`), git's smart HTTP and signed webhooks, and shows pull requests
//! to people. Repositories are bare git repositories, the rest is in SQLite; a change and the webhooks that it causes
//! are one transaction. Whatever moved in git is found by looking (`sync`), so that a forge that was killed anywhere
//! goes on where it was.
#![recursion_limit = "256"]

mod api;
mod app_calls;
mod caller;
mod clock;
mod deliver;
mod error;
mod events;
mod exchange;
mod faults;
mod forge;
mod front;
mod git;
mod graphql;
mod held;
mod hub;
mod import;
mod json;
mod jwt;
mod model;
mod names;
mod node_id;
mod page;
mod places;
mod protection;
mod pulls;
mod registration;
mod retarget;
mod settings;
mod setup;
mod smart_http;
mod store;
mod sync;
mod talk;

pub use faults::{Fault, Faults, Pick, Requests, Status, WebhookFault, Webhooks};
pub use forge::{Forge, NewPullRequest};
pub use import::Imported;
pub use model::Role;
pub use protection::{MergeMethods, Protection, Protections};
pub use registration::AppRegistration;
pub use settings::{Account, Settings};

/// The GraphQL schema that the forge serves, in GraphQL's own language: a part of GitHub's.
#[must_use]
pub fn graphql_schema() -> String {
    graphql::sdl()
}
