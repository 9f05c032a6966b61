//! The gateway over real TCP, in front of a scm-bot that a test controls.

mod bot;
mod fuzz;
mod grpc;
mod harness;
mod lifecycle;
mod rest;
mod webhook;
