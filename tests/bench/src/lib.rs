//! What the benches share: webhooks as GitHub sends them, a load generator, servers on a core of their own.

pub mod load;
pub mod server;
pub mod webhook;
