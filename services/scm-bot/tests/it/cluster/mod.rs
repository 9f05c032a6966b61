//! scm-bot over Kubernetes: its ledger, its election, and two replicas, against a real API server.

mod crashes;
mod crossing;
mod definitions;
mod election;
mod gate;
mod ledger;
mod processes;
mod replicas;
mod server;
mod speed;
