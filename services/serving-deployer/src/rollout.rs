//! A rollout as it is kept: what was asked for, how far it came, what was seen.

use std::time::SystemTime;

use kfops_core::{Failure, TraceContext};
use kfops_resource::Record;
use serde::{Deserialize, Serialize};

pub use crate::request::{Request, Source, Strategy};
use crate::service::{Protocol, RevisionKey, ServiceName};

mod steps;

/// How far a rollout came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Another rollout of the InferenceService is under way.
    Queued,
    /// The new revision is made ready.
    Revision,
    /// It must answer the sample.
    Proof,
    /// It gets a share of the traffic: the index into the strategy's percentages.
    Canary(usize),
    /// It gets all traffic.
    Promote,
    /// The old revision leaves.
    Drain,
    /// The new revision leaves, the old one gets all traffic back.
    Restore,
    /// Nothing more will happen.
    Ended,
}

/// State of a rollout or of a step of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Has not begun.
    Pending,
    /// Is under way.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended with a failure.
    Failed,
    /// Someone ended it.
    Canceled,
    /// A step that was not needed.
    Skipped,
}

/// Something that was done, for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// `canary 10 %`.
    pub title: String,
    /// How it stands.
    pub state: State,
    /// When it began.
    pub start: SystemTime,
    /// When it ended.
    pub end: Option<SystemTime>,
    /// What was seen.
    pub message: String,
    /// Share of the new revision.
    pub percent: u8,
    /// In the window.
    pub requests: u64,
    /// In the window.
    pub errors: u64,
    /// Of the new revision, milliseconds; 0 without data.
    pub p99_ms: f64,
    /// Of the live revision, milliseconds; 0 without data.
    pub live_p99_ms: f64,
}

/// The traced request of the proof.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    /// When it was sent.
    pub start: SystemTime,
    /// When the answer was there.
    pub end: Option<SystemTime>,
    /// What was wrong with the answer.
    pub error: Option<String>,
}

/// A rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// The caller's id.
    pub id: String,
    /// Never given out again.
    pub uid: String,
    /// What was asked for.
    pub request: Request,
    /// The caller's trace.
    pub context: Option<TraceContext>,
    /// How it stands.
    pub state: State,
    /// How far it came.
    pub stage: Stage,
    /// When it was asked for.
    pub created: SystemTime,
    /// When it last changed.
    pub updated: SystemTime,
    /// When it ended.
    pub ended: Option<SystemTime>,
    /// Why it is undone, from the moment that this was known.
    pub failure: Option<Failure>,
    /// Someone asked for its end.
    pub cancel: bool,
    /// Someone asked for the end of its canary: the new revision gets all traffic as soon as it is proven.
    #[serde(default)]
    pub promote: bool,
    /// The revision that it makes; empty until its name is given.
    pub revision: String,
    /// The revision that was live when it began; empty at the first.
    pub previous: String,
    /// What was done.
    pub steps: Vec<Step>,
    /// Where predictions are answered.
    pub endpoint: String,
    /// What the new revision answered to the sample.
    pub sample_response: String,
    /// The traced request of the proof.
    pub exchange: Option<Exchange>,
    /// The rendered InferenceService, YAML.
    #[serde(default)]
    pub manifest: String,
}

impl Rollout {
    /// A new one.
    #[must_use]
    pub fn new(id: String, request: Request, context: Option<TraceContext>, now: SystemTime) -> Self {
        let nanos = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos().to_string();
        Self {
            uid: kfops_core::short_hash(&["rollouts", &id, &nanos], 32),
            id,
            request,
            context,
            state: State::Pending,
            stage: Stage::Queued,
            created: now,
            updated: now,
            ended: None,
            failure: None,
            cancel: false,
            promote: false,
            revision: String::new(),
            previous: String::new(),
            steps: Vec::new(),
            endpoint: String::new(),
            sample_response: String::new(),
            exchange: None,
            manifest: String::new(),
        }
    }

    /// `rollouts/{id}`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("rollouts/{}", self.id)
    }

    /// The new revision among all.
    #[must_use]
    pub fn key(&self) -> RevisionKey {
        self.key_of(&self.revision)
    }

    /// A revision of its InferenceService among all.
    #[must_use]
    pub fn key_of(&self, revision: &str) -> RevisionKey {
        RevisionKey { namespace: self.request.service.namespace.clone(), revision: revision.into() }
    }

    /// The trace context that its steps are children of.
    #[must_use]
    pub fn top_context(&self) -> Option<TraceContext> {
        self.context.map(|context| context.child(&self.name()))
    }
}

/// URL of a prediction.
#[must_use]
pub fn endpoint(base_url: &str, service: &ServiceName, protocol: Protocol) -> String {
    format!("{base_url}{}", protocol.path(&service.name))
}

impl Record for Rollout {
    const COLLECTION: &'static str = "rollouts";

    fn id(&self) -> &str {
        &self.id
    }

    fn ended(&self) -> bool {
        self.ended.is_some()
    }

    fn same_request(&self, other: &Self) -> bool {
        self.request == other.request
    }
}
