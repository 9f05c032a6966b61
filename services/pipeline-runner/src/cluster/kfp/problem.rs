//! What can come of a request besides what was asked for.

use kfops_core::{Failure, Reason};
use serde::Deserialize;

/// Longest text of KFP that is passed on, characters.
const TEXT: usize = 600;

/// Why a call did not give what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    /// It did not leave this machine.
    Unsent(String),
    /// It may have been received, and may have done what it should; there is no answer that says so.
    Unanswered(String),
    /// KFP, or a proxy before it, answered this status.
    Refused { status: u16, message: String },
}

impl Problem {
    /// Whether the same request can be answered better later.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Unsent(_) | Self::Unanswered(_) => true,
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 500..=599),
        }
    }

    /// Whether the request may have taken effect although it was not answered with success. KFP makes a workflow before the
    /// row of its run, and answers 500 when the row fails.
    pub(crate) fn may_have_worked(&self) -> bool {
        match self {
            Self::Unsent(_) => false,
            Self::Unanswered(_) => true,
            Self::Refused { status, .. } => *status == 408 || *status >= 500,
        }
    }

    /// Whether it is this status.
    pub(crate) fn is(&self, wanted: u16) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == wanted)
    }

    /// For people. `doing` is what was tried, e.g. `creating the run`.
    pub(crate) fn failure(&self, doing: &str) -> Failure {
        match self {
            Self::Unsent(why) => {
                Failure::new(Reason::ClusterUnavailable, format!("{doing}: KFP cannot be reached: {why}"))
                    .action("is the setting kfp.url right, and does the mesh let this service through?")
            }
            Self::Unanswered(why) => {
                Failure::new(Reason::ClusterUnavailable, format!("{doing}: KFP gave no answer: {why}"))
            }
            Self::Refused { status, message } => {
                let (reason, action) = match status {
                    300..=399 => (
                        Reason::Unauthenticated,
                        "kfp.url leads to a login page: use the address inside of the cluster",
                    ),
                    401 => (
                        Reason::Unauthenticated,
                        "set kfp.token to a projected token with the audience pipelines.kubeflow.org",
                    ),
                    403 => (
                        Reason::PermissionDenied,
                        "bind this service's account to the ClusterRole kubeflow-edit in the namespace of kfp.namespace",
                    ),
                    408 | 429 | 500..=599 => (Reason::ClusterUnavailable, ""),
                    _ => (Reason::ClusterRefused, ""),
                };
                Failure::new(reason, format!("{doing}: KFP answered {status}: {message}")).action(action)
            }
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unsent(why) => write!(f, "not reached: {why}"),
            Self::Unanswered(why) => write!(f, "no answer: {why}"),
            Self::Refused { status, message } => write!(f, "{status}: {message}"),
        }
    }
}

/// Every shape that errors were seen in: gRPC's gateway, uploads (also as text), bare text, a proxy's page.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    message: String,
    error_message: String,
    details: Vec<Detail>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Detail {
    message: String,
}

/// What an answer without success says, in one line.
pub(super) fn said(status: u16, body: &[u8]) -> Problem {
    let said: Said = serde_json::from_slice(body).unwrap_or_default();
    // The innermost message is the plainest, unless it only says that something is wrong.
    let inner =
        said.details.into_iter().map(|detail| detail.message).find(|message| message != "Internal Server Error");
    let message =
        [inner.unwrap_or_default(), said.message, said.error_message].into_iter().find(|text| !text.is_empty());
    let text = message.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let text = text.trim();
    let message = match text.is_empty() || text.starts_with('<') {
        true => "no reason given".to_owned(),
        false => text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT).collect(),
    };
    Problem::Refused { status, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_an_error_is_read() {
        let row = |status: u16, body: &str, message: &str| {
            let expected = Problem::Refused { status, message: message.into() };
            assert_eq!(said(status, body.as_bytes()), expected);
        };
        row(
            404,
            r#"{"code":5,"message":"long: Run x not found","details":[{"message":"Run x not found"}]}"#,
            "Run x not found",
        );
        row(
            500,
            r#"{"code":13,"message":"Duplicate entry","details":[{"message":"Internal Server Error"}]}"#,
            "Duplicate entry",
        );
        row(400, r#"{"code":3,"message":"unknown field"}"#, "unknown field");
        row(409, r#"{"error_message":"Failed to create","error_details":"stack\n\tat"}"#, "Failed to create");
        row(400, "Invalid input error: too long\n", "Invalid input error: too long");
        row(502, "<html><body>Bad Gateway</body></html>", "no reason given");
        row(503, "", "no reason given");
        row(400, "[1]", "[1]");
    }

    #[test]
    fn what_may_have_worked_is_never_taken_for_undone() {
        let refused = |status| Problem::Refused { status, message: String::new() };
        for status in [408, 500, 502, 503, 504] {
            assert!(refused(status).may_have_worked() && refused(status).passes(), "{status}");
        }
        for status in [302, 400, 401, 403, 404, 409] {
            assert!(!refused(status).may_have_worked() && !refused(status).passes(), "{status}");
        }
        assert!(Problem::Unanswered(String::new()).may_have_worked());
        assert!(!Problem::Unsent(String::new()).may_have_worked());
    }
}
