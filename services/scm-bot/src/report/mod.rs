//! What people read on GitHub: one live comment and one check run per command.

mod acted;
mod check;
mod comment;
mod escape;
mod locks;
mod metrics;
mod plan;
mod status;
mod why;
mod words;

pub use acted::acted;
pub use check::{check_run, deployment};
pub use comment::{comment, marker};
pub use locks::{Held, Who, lock, waits_for_target, waits_for_turn};
pub use metrics::{compare, number};
pub use plan::{Argument, Found, Measured, Now, Plan, Serving, Verdict, plan};
pub use status::{Place, help, status};
pub use why::{Chain, Checked, Link, why};
pub use words::sentence;

#[cfg(test)]
mod tests;
