//! The pipeline runner over gRPC, with the real kfp.

mod collector;
mod compile;
mod harness;
mod legacy;
mod restart;
mod run;
mod trace;
