//! What the API server's refusals mean.

use kfops_core::{Failure, Reason};
use kube::Error;

/// What went wrong with `resource`, e.g. `jobs/build-1`, for people. Denials of admission webhooks and quotas are passed on
/// in their own words.
#[must_use]
pub fn failure(error: &Error, resource: &str) -> Failure {
    let Error::Api(status) = error else {
        return Failure::new(
            Reason::ClusterUnavailable,
            format!("{resource}: the Kubernetes API does not answer: {error}"),
        )
        .on(resource);
    };
    let said = status.message.trim();
    let (reason, message) = match status.code {
        401 => (
            Reason::Unauthenticated,
            format!("{resource}: the Kubernetes API does not know this service account: {said}"),
        ),
        403 if denied(said) || said.contains("exceeded quota") => {
            (Reason::ClusterRefused, format!("{resource} is refused: {said}"))
        }
        403 => (Reason::PermissionDenied, format!("{resource}: {said}")),
        404 => (Reason::NotFound, format!("{resource}: {said}")),
        409 if status.reason == "AlreadyExists" => (Reason::AlreadyExists, format!("{resource}: {said}")),
        // Server-side apply: the message names the fields and who owns them.
        409 if said.starts_with("Apply failed with") => {
            (Reason::ClusterRefused, format!("{resource} belongs to somebody else too: {said}"))
        }
        409 => (Reason::ClusterUnavailable, format!("{resource} was changed by somebody else: {said}")),
        // A webhook's denial may come with any code that its author chose.
        400..=499 if status.code != 408 && status.code != 429 => {
            (Reason::ClusterRefused, format!("{resource} is refused: {said}"))
        }
        500 if denied(said) && !said.contains("failed calling webhook") => {
            (Reason::ClusterRefused, format!("{resource} is refused: {said}"))
        }
        _ => (Reason::ClusterUnavailable, format!("{resource}: the Kubernetes API cannot do it now: {said}")),
    };
    let failure = Failure::new(reason, message).on(resource);
    match reason {
        Reason::PermissionDenied => {
            failure.action("give the service account this right: the chart's roles name what each service needs")
        }
        Reason::ClusterRefused => failure.action("change what the message names, or ask who runs the cluster"),
        _ => failure,
    }
}

/// `None` for what is not there.
pub fn optional<T>(answer: Result<T, Error>, resource: &str) -> Result<Option<T>, Failure> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(failure(&error, resource)),
    }
}

fn denied(said: &str) -> bool {
    said.contains("admission webhook")
        || said.contains("violates PodSecurity")
        || said.contains("ValidatingAdmissionPolicy")
}
