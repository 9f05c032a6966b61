//! What needs more than one service.

mod bad_input;
mod fixture;
mod kill;
mod processes;
