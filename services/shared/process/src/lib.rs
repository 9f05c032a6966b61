//! Child processes: bare environment, own process group, time limit, log kept, gone when we are gone;
//! and a sandbox for code that is not ours.

mod child;
mod command;
mod log;
mod sandbox;

pub use child::{Child, Ended};
pub use command::Command;
pub use log::{LogTail, open_regular, read_regular};
pub use sandbox::{Confinement, Limits, Sandbox};
