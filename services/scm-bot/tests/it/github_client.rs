//! The GitHub client before a server that says what each test has written for it.

mod auth;
mod limits;
mod requests;
mod server;
