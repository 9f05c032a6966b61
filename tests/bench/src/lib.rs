//! What the benches share: webhooks as GitHub sends them, a load generator, servers on a core of their own, and what
//! scm-bot needs around it: a GitHub and workers.

pub mod disk;
pub mod github;
pub mod load;
pub mod server;
pub mod webhook;
pub mod workers;
