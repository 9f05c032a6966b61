//! The object store over a folder and over S3: one suite for both, faults of S3, signed URLs, the real thing.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails says where")]

mod check;
mod conformance;
mod faults;
mod load;
mod server;
mod signed;
