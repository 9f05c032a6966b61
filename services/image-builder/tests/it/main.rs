//! The image builder with its real counterparts: buildah, the embedded registry, gRPC over TCP.
//! The stand-in base image is made once (some 20 s) in this user's cache folder.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails says where")]

mod builds;
mod cancel;
mod cluster;
mod escape;
mod failures;
mod preview;
mod process;
mod registry;
mod restart;
mod store;
mod world;
