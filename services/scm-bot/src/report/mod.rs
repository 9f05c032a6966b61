//! What people read on GitHub: one live comment and one check run per command.

mod acted;
mod check;
mod comment;
mod escape;
mod status;
mod words;

pub use acted::acted;
pub use check::{check_run, deployment};
pub use comment::{comment, marker};
pub use status::{help, status};

#[cfg(test)]
mod tests;
