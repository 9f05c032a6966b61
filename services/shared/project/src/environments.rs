//! Where a project runs, how a model goes live there, and how long things may take.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::{Duration, Percent};

/// Where it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Environments {
    /// The Kubeflow profile (namespace) that builds and runs.
    #[schemars(extend("format" = "kfops-dns-label"))]
    pub build: String,
    /// Target of `/staging_deploy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Target")]
    pub staging: Option<Target>,
    /// Target of `/deploy` and `/ship`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Target")]
    pub production: Option<Target>,
}

/// One of the two places a model is deployed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    /// `/staging_deploy`.
    Staging,
    /// `/deploy`.
    Production,
}

impl Environment {
    /// As in `kfops.yaml`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }
}

/// Where and how a model goes live.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Namespace of the InferenceService.
    #[schemars(extend("format" = "kfops-dns-label"))]
    pub namespace: String,
    /// How traffic is shifted to a new revision.
    #[serde(default)]
    pub strategy: Strategy,
}

/// How traffic is shifted to a new revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Strategy {
    /// Percentages before 100, rising. Empty: straight to 100 after the proof.
    #[schemars(inner(range(min = 1, max = 99)), length(max = 20))]
    pub canary: Vec<u8>,
    /// How long each percentage is watched.
    pub hold: Duration,
    /// Share of failed requests above which the rollout is undone.
    pub max_error_rate: Percent,
    /// By how much the p99 latency may exceed the live revision's. Without it, latency is not judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Percent")]
    pub max_p99_increase: Option<Percent>,
    /// Fewer requests than this hold a step.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub min_requests: u32,
    /// A step that cannot be judged by then fails.
    pub timeout: Duration,
}

impl Default for Strategy {
    fn default() -> Self {
        Self {
            canary: vec![10, 50],
            hold: Duration::from_secs(10),
            max_error_rate: Percent::from_fraction(0.01),
            max_p99_increase: None,
            min_requests: 20,
            timeout: Duration::from_secs(600),
        }
    }
}

/// How long the parts of a command may take; a run's limit is `pipeline.timeout`, a canary step's the strategy's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// All images of a command.
    pub build: Duration,
    /// Compiling the pipeline.
    pub compile: Duration,
    /// A whole rollout.
    pub rollout: Duration,
    /// Waiting for earlier commands of the pull request, and for the lock of the target.
    pub wait: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            build: Duration::from_secs(30 * 60),
            compile: Duration::from_secs(2 * 60),
            rollout: Duration::from_secs(60 * 60),
            wait: Duration::from_secs(4 * 60 * 60),
        }
    }
}
