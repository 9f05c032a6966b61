//! The real binary against the real gateway, with a scm-bot that a test controls.

mod bot;
mod check;
mod commands;
mod kfc;
mod traces;
