//! How kfc ends when not with 0, and what it says then.

use std::io::Write as _;

use kfops_core::{Failure, Reason};

/// Why kfc ends.
#[derive(Debug)]
pub(crate) enum Exit {
    /// 1: it failed.
    Failed(Failure),
    /// 2: the command line, or what it names, is wrong.
    Usage(Failure),
    /// 3: the server says no.
    Refused(Failure),
    /// 4: nobody answers.
    Unreachable(Failure),
    /// All is said already.
    Code(u8),
}

impl Exit {
    /// A wrong command line.
    pub(crate) fn usage(message: impl Into<String>, action: impl Into<String>) -> Self {
        Self::Usage(Failure::new(Reason::InvalidArgument, message).action(action))
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Refused(_) => 3,
            Self::Unreachable(_) => 4,
            Self::Code(code) => *code,
        }
    }

    /// Says why, on standard error.
    pub(crate) fn print(&self) {
        if let Self::Failed(failure) | Self::Usage(failure) | Self::Refused(failure) | Self::Unreachable(failure) = self
        {
            writeln!(std::io::stderr(), "kfc: {}", text(failure)).ok();
        }
    }
}

/// A failure of the API goes by its reason.
impl From<Failure> for Exit {
    fn from(failure: Failure) -> Self {
        match failure.reason {
            Reason::InvalidArgument | Reason::NotFound => Self::Usage(failure),
            Reason::WorkerUnavailable | Reason::DeadlineExceeded | Reason::StoreUnavailable => {
                Self::Unreachable(failure)
            }
            Reason::Unauthenticated
            | Reason::PermissionDenied
            | Reason::PolicyRefused
            | Reason::BehindBase
            | Reason::NotMergeable
            | Reason::NoRun
            | Reason::NoVersion
            | Reason::RunOfOtherCommit
            | Reason::PullRequestClosed
            | Reason::AlreadyExists => Self::Refused(failure),
            _ => Self::Failed(failure),
        }
    }
}

/// What happened, the log's end, what to do; without control characters, for text of a repository is in it.
pub(crate) fn text(failure: &Failure) -> String {
    let mut text = failure.message.clone();
    for line in failure.log_tail.lines() {
        text.push_str("\n  | ");
        text.push_str(line);
    }
    if !failure.action.is_empty() {
        text.push_str("\n  ");
        text.push_str(&failure.action);
    }
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}
