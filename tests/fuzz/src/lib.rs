//! What strangers can send, made up at random: comments, signatures, webhooks, kfops.yaml, arguments. Each target takes
//! bytes and says what is wrong with what the code made of them; inputs that once were wrong lie in `corpus/` and are
//! replayed by `make test`.

pub mod corpus;
pub mod hunt;
mod settings;
mod strategies;
mod targets;
pub mod watchdog;

pub use targets::Target;
