//! Runs a program as a Job (batch/v1) to its end. A Job has a name that its caller derives, so that asking twice is asking once
//! and a service that was restarted finds what it began. What keeps a pod from running is named as soon as Kubernetes says it.
//!
//! Rights, in the namespace of the Jobs only:
//!
//! | group | resource | verbs | for |
//! |---|---|---|---|
//! | `batch` | `jobs` | `create`, `get`, `delete`, `list`, `watch` | making, adopting, ending, seeing |
//! | | `pods` | `list`, `watch` | their states |
//! | | `pods/log` | `get` | their output |
//! | | `secrets` | `create`, `patch` | tasks with a secret of their own |
//! | | `events` | `list`, `watch` | why a pod is not made, not scheduled, not started |

mod adopt;
mod diagnose;
mod log;
mod remove;
mod run;
mod task;
mod world;

pub use diagnose::{End, Fault, Hope, Obstacle, Verdict, diagnose};
pub use remove::remove;
pub use run::{Exited, Finished, Observer, Outcome, run};
pub use task::{Patience, Task};
