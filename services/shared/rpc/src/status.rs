//! Failures as gRPC statuses with `google.rpc` details, and back (AIP-193).

use std::{collections::HashMap, time::Duration};

use kfops_core::{Failure, Reason};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

const DOMAIN: &str = "kfops.dev";
/// Headers carry the details; a log tail must leave room for the rest (HTTP/2 header list limits are often 8 KiB or 16 KiB).
const LOG_TAIL: usize = 1500;

/// The code that a reason maps to.
const fn code(reason: Reason) -> Code {
    use Reason as R;
    match reason {
        R::InvalidArgument | R::ConfigInvalid | R::PipelineInvalid | R::TemplateInvalid | R::SourceInvalid => {
            Code::InvalidArgument
        }
        R::NotFound => Code::NotFound,
        R::AlreadyExists => Code::AlreadyExists,
        R::Unauthenticated => Code::Unauthenticated,
        R::PermissionDenied | R::PolicyRefused => Code::PermissionDenied,
        R::BehindBase
        | R::NotMergeable
        | R::NoRun
        | R::NoVersion
        | R::RunOfOtherCommit
        | R::PullRequestClosed
        | R::BuilderMissing
        | R::ImageBuildFailed
        | R::CompileFailed
        | R::TaskFailed
        | R::ModelMissing
        | R::RevisionNotReady
        | R::ProofFailed
        | R::GateFailed
        | R::MergeFailed
        | R::ClusterRefused => Code::FailedPrecondition,
        R::TargetLocked | R::Superseded => Code::Aborted,
        R::CompileTimeout | R::RunTimeout | R::DeadlineExceeded => Code::DeadlineExceeded,
        R::ResourceExhausted => Code::ResourceExhausted,
        R::Canceled => Code::Cancelled,
        R::SourceUnavailable
        | R::ImagePushFailed
        | R::RouteFailed
        | R::GithubUnavailable
        | R::WorkerUnavailable
        | R::StoreUnavailable
        | R::RegistryUnavailable
        | R::ClusterUnavailable => Code::Unavailable,
        R::Internal => Code::Internal,
    }
}

/// A failure as a status.
#[must_use]
pub fn status_of(failure: &Failure) -> Status {
    let mut metadata = HashMap::new();
    let tail = failure.log_tail.char_indices().rev().nth(LOG_TAIL).map_or(0, |(at, _)| at);
    for (key, value) in
        [("resource", failure.resource.as_str()), ("action", &failure.action), ("log_tail", &failure.log_tail[tail..])]
    {
        if !value.is_empty() {
            metadata.insert(key.to_owned(), value.to_owned());
        }
    }
    let mut details = ErrorDetails::with_error_info(failure.reason.as_str(), DOMAIN, metadata);
    if failure.reason == Reason::InvalidArgument && !failure.resource.is_empty() {
        details.add_bad_request_violation(&failure.resource, &failure.message);
    }
    if failure.retryable {
        details.set_retry_info(Some(Duration::from_secs(1)));
    }
    Status::with_error_details(code(failure.reason), &failure.message, details)
}

/// The failure that a status carries; one of another origin is put under the nearest reason.
#[must_use]
pub fn failure_of(status: &Status) -> Failure {
    let Some(info) = status.get_details_error_info().filter(|info| info.domain == DOMAIN) else {
        return foreign(status);
    };
    let reason = Reason::ALL.iter().copied().find(|r| r.as_str() == info.reason).unwrap_or(Reason::Internal);
    let get = |key: &str| info.metadata.get(key).cloned().unwrap_or_default();
    Failure {
        reason,
        message: status.message().to_owned(),
        resource: get("resource"),
        retryable: status.get_details_retry_info().is_some(),
        action: get("action"),
        log_tail: get("log_tail"),
    }
}

fn foreign(status: &Status) -> Failure {
    let reason = match status.code() {
        Code::InvalidArgument | Code::OutOfRange => Reason::InvalidArgument,
        Code::NotFound => Reason::NotFound,
        Code::AlreadyExists => Reason::AlreadyExists,
        Code::Unauthenticated => Reason::Unauthenticated,
        Code::PermissionDenied => Reason::PermissionDenied,
        Code::DeadlineExceeded => Reason::DeadlineExceeded,
        Code::ResourceExhausted => Reason::ResourceExhausted,
        // tonic reports its own expired deadline and a broken connection as these.
        Code::Cancelled | Code::Unavailable | Code::Unknown => Reason::WorkerUnavailable,
        _ => Reason::Internal,
    };
    Failure::new(reason, status.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_survives_the_wire() {
        for reason in Reason::ALL {
            let failure =
                Failure::new(*reason, "task train failed").on("runs/r-1").action("look at the log").log_tail("a\nb");
            assert_eq!(failure_of(&status_of(&failure)), failure);
        }
    }

    #[test]
    fn a_long_log_is_cut_at_a_character() {
        let failure = Failure::new(Reason::TaskFailed, "x").log_tail(&"é".repeat(4000));
        assert!(failure_of(&status_of(&failure)).log_tail.len() <= 2 * LOG_TAIL + 2);
    }
}
