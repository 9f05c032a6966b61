//! What went wrong, made once where it is known, and shown unchanged everywhere.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest log tail that a failure carries, in bytes.
const LOG_TAIL: usize = 4096;

/// Why something did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// One of the closed set.
    pub reason: Reason,
    /// What happened: lower case, no full stop, no secrets.
    pub message: String,
    /// The resource it happened to, e.g. `builds/b-1`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// Whether the same request may succeed later, unchanged.
    #[serde(default)]
    pub retryable: bool,
    /// What a person can do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub action: String,
    /// The last lines of the log that explain it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub log_tail: String,
}

impl Failure {
    /// A failure for `reason`; whether retrying helps follows from the reason.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            resource: String::new(),
            retryable: reason.retryable(),
            action: String::new(),
            log_tail: String::new(),
        }
    }

    /// A fault of Kfops itself.
    pub fn internal(error: impl fmt::Display) -> Self {
        Self::new(Reason::Internal, error.to_string())
    }

    /// Says to which resource it happened.
    #[must_use]
    pub fn on(mut self, resource: impl Into<String>) -> Self {
        self.resource = resource.into();
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn action(mut self, action: impl Into<String>) -> Self {
        self.action = action.into();
        self
    }

    /// Keeps the end of a log, at whole lines, at most 4 KiB.
    #[must_use]
    pub fn log_tail(mut self, log: &str) -> Self {
        let log = log.trim_end();
        let mut start = log.len().saturating_sub(LOG_TAIL);
        while !log.is_char_boundary(start) {
            start += 1;
        }
        let tail = &log[start..];
        self.log_tail = match (start > 0).then(|| tail.find('\n')).flatten() {
            Some(newline) => tail[newline + 1..].to_owned(),
            None => tail.to_owned(),
        };
        self
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $retryable:literal;)*) => {
        /// The closed set of reasons. The text is the `reason` of `google.rpc.ErrorInfo`, domain `kfops.dev`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Reason {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// As in `ErrorInfo` and JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Whether the same request may succeed later, unchanged.
            #[must_use]
            pub const fn retryable(self) -> bool {
                match self { $(Self::$name => $retryable,)* }
            }
        }
    };
}

reasons! {
    /// The request is wrong.
    InvalidArgument = "INVALID_ARGUMENT", false;
    /// There is no such resource.
    NotFound = "NOT_FOUND", false;
    /// A resource of that id with other content exists.
    AlreadyExists = "ALREADY_EXISTS", false;
    /// No valid identity.
    Unauthenticated = "UNAUTHENTICATED", false;
    /// The identity may not.
    PermissionDenied = "PERMISSION_DENIED", false;
    /// A rule of the repository refuses the command.
    PolicyRefused = "POLICY_REFUSED", false;
    /// The pull request lacks commits of its base.
    BehindBase = "BEHIND_BASE", false;
    /// GitHub says that the pull request cannot be merged.
    NotMergeable = "NOT_MERGEABLE", false;
    /// Nothing was run yet for this pull request.
    NoRun = "NO_RUN", false;
    /// Nothing was built yet for this pull request.
    NoVersion = "NO_VERSION", false;
    /// The run was made from another commit than the one to deploy.
    RunOfOtherCommit = "RUN_OF_OTHER_COMMIT", false;
    /// The pull request is closed or merged.
    PullRequestClosed = "PULL_REQUEST_CLOSED", false;
    /// kfops.yaml is missing or wrong.
    ConfigInvalid = "CONFIG_INVALID", false;
    /// Another command holds the lock of the target.
    TargetLocked = "TARGET_LOCKED", true;
    /// The source archive cannot be had.
    SourceUnavailable = "SOURCE_UNAVAILABLE", true;
    /// The source archive is not what was promised.
    SourceInvalid = "SOURCE_INVALID", false;
    /// No working image builder on this machine.
    BuilderMissing = "BUILDER_MISSING", false;
    /// An image's build failed.
    ImageBuildFailed = "IMAGE_BUILD_FAILED", false;
    /// An image could not be pushed.
    ImagePushFailed = "IMAGE_PUSH_FAILED", true;
    /// The pipeline could not be imported or compiled.
    CompileFailed = "COMPILE_FAILED", false;
    /// Compiling took too long.
    CompileTimeout = "COMPILE_TIMEOUT", false;
    /// The compiled pipeline is not a valid KFP 2 specification.
    PipelineInvalid = "PIPELINE_INVALID", false;
    /// A task of the run failed.
    TaskFailed = "TASK_FAILED", false;
    /// The run took too long.
    RunTimeout = "RUN_TIMEOUT", false;
    /// The run wrote no model where one was expected.
    ModelMissing = "MODEL_MISSING", false;
    /// The InferenceService template cannot be rendered.
    TemplateInvalid = "TEMPLATE_INVALID", false;
    /// The new revision did not become ready.
    RevisionNotReady = "REVISION_NOT_READY", false;
    /// The new revision did not answer the sample request.
    ProofFailed = "PROOF_FAILED", false;
    /// A canary step showed too many errors or too much latency.
    GateFailed = "GATE_FAILED", false;
    /// Traffic could not be shifted.
    RouteFailed = "ROUTE_FAILED", true;
    /// GitHub did not merge the pull request.
    MergeFailed = "MERGE_FAILED", false;
    /// GitHub does not answer as it should.
    GithubUnavailable = "GITHUB_UNAVAILABLE", true;
    /// A service of Kfops does not answer.
    WorkerUnavailable = "WORKER_UNAVAILABLE", true;
    /// The object store or a database does not answer.
    StoreUnavailable = "STORE_UNAVAILABLE", true;
    /// The image registry does not answer.
    RegistryUnavailable = "REGISTRY_UNAVAILABLE", true;
    /// It took longer than the caller wanted to wait.
    DeadlineExceeded = "DEADLINE_EXCEEDED", true;
    /// A limit is reached.
    ResourceExhausted = "RESOURCE_EXHAUSTED", true;
    /// The Kubernetes API does not answer as it should.
    ClusterUnavailable = "CLUSTER_UNAVAILABLE", true;
    /// Kubernetes refuses an object: an admission webhook, a quota, its own validation.
    ClusterRefused = "CLUSTER_REFUSED", false;
    /// Someone canceled it.
    Canceled = "CANCELED", false;
    /// Something newer took its place.
    Superseded = "SUPERSEDED", false;
    /// A fault of Kfops.
    Internal = "INTERNAL", false;
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_tail_keeps_whole_lines_and_characters() {
        let log = "é".repeat(3000) + "\nlast line\n";
        assert_eq!(Failure::new(Reason::TaskFailed, "x").log_tail(&log).log_tail, "last line");
        assert_eq!(Failure::new(Reason::TaskFailed, "x").log_tail("one\ntwo\n").log_tail, "one\ntwo");
    }

    #[test]
    fn reason_reads_back() {
        for reason in Reason::ALL {
            let json = serde_json::to_string(reason).unwrap();
            assert_eq!(serde_json::from_str::<Reason>(&json).unwrap(), *reason);
        }
    }
}
