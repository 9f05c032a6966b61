//! A rollout as it is kept: what was asked for, how far it came, what was seen.

use std::time::SystemTime;

use kfops_core::{Failure, TraceContext};
use kfops_resource::Record;
use serde::{Deserialize, Serialize};

pub use crate::request::{Request, Source, Strategy};
use crate::{
    gate::Window,
    service::{Protocol, RevisionKey, ServiceName},
};

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
            revision: String::new(),
            previous: String::new(),
            steps: Vec::new(),
            endpoint: String::new(),
            sample_response: String::new(),
            exchange: None,
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

    /// Takes the next stage: ends the running step, begins the stage's own.
    pub fn advance(&mut self, stage: Stage, now: SystemTime) {
        self.finish_step(State::Succeeded, now);
        self.stage = stage;
        self.begin_step(now);
    }

    /// Begins to undo, for this reason.
    pub fn fail(&mut self, failure: Failure, now: SystemTime) {
        let state = if self.cancel { State::Canceled } else { State::Failed };
        if let Some(step) = self.steps.last_mut().filter(|s| s.end.is_none()) {
            step.message.clone_from(&failure.message);
        }
        self.finish_step(state, now);
        self.failure = Some(failure.on(self.name()));
        self.stage = Stage::Restore;
        if !self.revision.is_empty() {
            self.begin_step(now);
        }
    }

    /// Ends it.
    pub fn end(&mut self, now: SystemTime) {
        self.finish_step(State::Succeeded, now);
        self.state = match (&self.failure, self.cancel) {
            (None, _) => State::Succeeded,
            (Some(_), true) => State::Canceled,
            (Some(_), false) => State::Failed,
        };
        self.stage = Stage::Ended;
        self.ended = Some(now);
        self.updated = now;
    }

    /// The percentage of the stage's step; 0 where the new revision gets no traffic.
    #[must_use]
    pub fn percent(&self, stage: Stage) -> u8 {
        match stage {
            Stage::Canary(index) => self.request.strategy.canary.get(index).copied().unwrap_or(100),
            Stage::Promote | Stage::Drain => 100,
            _ => 0,
        }
    }

    /// Says on the running step what was seen.
    pub fn note(&mut self, message: impl Into<String>, window: Option<&Window>, now: SystemTime) {
        self.updated = now;
        let Some(step) = self.steps.last_mut().filter(|s| s.end.is_none()) else { return };
        step.message = message.into();
        if let Some(window) = window {
            step.requests = window.new.requests;
            step.errors = window.new.errors;
            step.p99_ms = window.new.p99_ms().unwrap_or_default();
            step.live_p99_ms = window.live.p99_ms().unwrap_or_default();
        }
    }

    fn begin_step(&mut self, now: SystemTime) {
        self.updated = now;
        let percent = self.percent(self.stage);
        let title = match self.stage {
            Stage::Queued | Stage::Ended => return,
            Stage::Revision => "revision".into(),
            Stage::Proof => "proof".into(),
            Stage::Canary(_) => format!("canary {percent} %"),
            Stage::Promote => "promote".into(),
            Stage::Drain => "drain".into(),
            Stage::Restore => "restore".into(),
        };
        self.steps.push(Step {
            title,
            state: State::Running,
            start: now,
            end: None,
            message: String::new(),
            percent,
            requests: 0,
            errors: 0,
            p99_ms: 0.0,
            live_p99_ms: 0.0,
        });
    }

    fn finish_step(&mut self, state: State, now: SystemTime) {
        self.updated = now;
        if let Some(step) = self.steps.last_mut().filter(|s| s.end.is_none()) {
            (step.state, step.end) = (state, Some(now));
        }
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
