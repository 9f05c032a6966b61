//! What versions and runs have in common: identity, state, times, failure.

use std::time::SystemTime;

use kfops_core::{Failure, Reason, TraceContext, short_hash};
use serde::{Deserialize, Serialize};

/// State of a version, a run or a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    Pending,
    Running,
    Succeeded,
    Failed,
    Canceled,
    Skipped,
}

impl State {
    /// Whether it will not change any more.
    pub(crate) fn ended(self) -> bool {
        !matches!(self, Self::Pending | Self::Running)
    }
}

/// The life of a resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Life {
    pub(crate) id: String,
    pub(crate) uid: String,
    pub(crate) state: State,
    pub(crate) create_time: SystemTime,
    pub(crate) update_time: SystemTime,
    /// When the work itself began.
    pub(crate) start_time: Option<SystemTime>,
    pub(crate) end_time: Option<SystemTime>,
    pub(crate) failure: Option<Failure>,
    pub(crate) cancel_requested: bool,
    /// The caller's.
    pub(crate) trace: Option<TraceContext>,
}

impl Life {
    pub(crate) fn new(collection: &str, id: &str, now: SystemTime, trace: Option<TraceContext>) -> Self {
        let nanos = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos().to_string();
        Self {
            id: id.to_owned(),
            uid: short_hash(&[collection, id, &nanos], 32),
            state: State::Pending,
            create_time: now,
            update_time: now,
            start_time: None,
            end_time: None,
            failure: None,
            cancel_requested: false,
            trace,
        }
    }

    pub(crate) fn begin(&mut self, now: SystemTime) {
        self.state = State::Running;
        self.update_time = now;
        self.start_time.get_or_insert(now);
    }

    /// Ends it; a second end changes nothing.
    pub(crate) fn end(&mut self, failure: Option<Failure>, now: SystemTime) {
        if self.state.ended() {
            return;
        }
        self.state = match &failure {
            None => State::Succeeded,
            Some(failure) if failure.reason == Reason::Canceled => State::Canceled,
            Some(_) => State::Failed,
        };
        self.failure = failure;
        self.update_time = now;
        self.end_time = Some(now);
    }
}

/// The failure of what someone canceled.
pub(crate) fn canceled(name: &str) -> Failure {
    Failure::new(Reason::Canceled, format!("{name} was canceled")).on(name)
}
