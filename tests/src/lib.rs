//! What tests across services share: built binaries as processes, and a `kfc local up` that can be killed.

pub mod binaries;
pub mod local_up;
pub mod wait;
