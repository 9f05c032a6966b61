//! What a rollout is asked for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    gate::Rules,
    service::{Model, ServiceName},
    settings::Settings,
};

/// The files of one commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Key in the object store.
    pub key: String,
    /// `sha256:…` of the archive.
    pub digest: kfops_core::Digest,
    /// The commit.
    pub commit: String,
    /// `owner/name`.
    pub repository: String,
}

/// How traffic is shifted. What is None comes from the settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Strategy {
    /// Percentages before 100, rising.
    pub canary: Vec<u8>,
    /// How long each is watched.
    pub hold: Option<Duration>,
    /// Share of failed requests, 0 to 1.
    pub max_error_rate: f64,
    /// p99 over the live revision's; 0: not judged.
    pub max_p99_increase: f64,
    /// Fewer requests hold a step.
    pub min_requests: Option<u64>,
    /// A step that cannot be judged by then fails.
    pub timeout: Option<Duration>,
}

impl Strategy {
    /// With the settings' values where it says nothing.
    #[must_use]
    pub fn rules(&self, settings: &Settings) -> Rules {
        let hold = self.hold.unwrap_or(settings.hold.get());
        Rules {
            hold,
            timeout: self.timeout.unwrap_or(settings.step_timeout.get()).max(hold),
            max_error_rate: self.max_error_rate,
            max_p99_increase: self.max_p99_increase,
            min_requests: self.min_requests.unwrap_or(u64::from(settings.min_requests)),
        }
    }
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Where the model goes live.
    pub service: ServiceName,
    /// The repository's files.
    pub source: Source,
    /// Template or deployment function, in the source.
    pub template: String,
    /// Sample request, in the source; empty: none.
    pub sample: String,
    /// Golden requests, in the source; empty: none.
    pub golden: String,
    /// The model.
    pub model: Model,
    /// `runs/{run}` that trained it.
    pub run: String,
    /// How traffic is shifted.
    pub strategy: Strategy,
    /// Of the target's lock that the caller holds; 0: it holds none.
    #[serde(default)]
    pub fence: i64,
}
