//! The way in. `POST /webhooks/github` takes GitHub's webhooks: signature first, then size and shape, then scm-bot
//! stores them, and only then they are answered with 202. `CommandService` is offered as REST (transcoded from the
//! protos while running, described in `/openapi.json`) and as gRPC, both on the same port. Knows nothing of commands.

mod access;
mod answer;
mod api;
mod cluster;
mod ports;
mod rest;
mod routes;
mod server;
mod service;
mod settings;
mod webhook;

pub use ports::Ports;
pub use service::{GatewayError, Service};
pub use settings::{ApiSettings, ApiToken, ClusterSettings, Secret, Settings, WebhookSettings};
