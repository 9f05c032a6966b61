//! The world around the bot, in memory: GitHub, the workers, the ledger, the object store and time. It survives the
//! bot's death; every call of a port can be counted, delayed, broken, or be the bot's last.

pub(crate) mod bot;
pub(crate) mod digest;
pub(crate) mod gate;
pub(crate) mod github;
pub(crate) mod hub;
pub(crate) mod jobs;
pub(crate) mod ledger;
pub(crate) mod rng;
pub(crate) mod serving;
pub(crate) mod store;
pub(crate) mod time;
pub(crate) mod workers;
pub(crate) mod world;

pub(crate) use bot::Sim;
pub(crate) use world::{State, World};
