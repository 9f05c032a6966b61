//! How a rollout goes from stage to stage, and the steps that it leaves for people to read.

use std::time::SystemTime;

use kfops_core::{Failure, Reason};

use super::{Rollout, Stage, State, Step};
use crate::{gate::Window, plan::canceled};

/// On the steps that a promotion made needless.
const PROMOTED: &str = "promoted by request";

impl Rollout {
    /// Takes the next stage: ends the running step, begins the stage's own. After a request to promote, a canary stage
    /// and those after it are skipped.
    pub fn advance(&mut self, stage: Stage, now: SystemTime) {
        self.finish_step(State::Succeeded, now);
        self.stage = match stage {
            Stage::Canary(from) if self.promote => {
                self.skip(from, now);
                Stage::Promote
            }
            stage => stage,
        };
        self.begin_step(now);
    }

    /// Ends the canary step under way and skips the rest. `share`: the step's share was in force.
    pub fn end_canary(&mut self, index: usize, share: bool, now: SystemTime) {
        if let Some(step) = self.steps.last_mut().filter(|s| s.end.is_none()) {
            if share {
                let seen = std::mem::take(&mut step.message);
                step.message = if seen.is_empty() { PROMOTED.into() } else { format!("{seen}; {PROMOTED}") };
            } else {
                (step.state, step.end, step.message) = (State::Skipped, Some(now), PROMOTED.into());
            }
        }
        self.advance(Stage::Canary(index + 1), now);
    }

    /// Begins to undo, for this reason.
    pub fn fail(&mut self, failure: Failure, now: SystemTime) {
        // Whatever went wrong while someone ended it: it was ended.
        let failure = if self.cancel && failure.reason != Reason::Canceled { canceled(self) } else { failure };
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

    /// Ends it; `step` is what became of the step under way.
    pub fn end(&mut self, step: State, now: SystemTime) {
        self.finish_step(step, now);
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

    fn skip(&mut self, from: usize, now: SystemTime) {
        if self.previous.is_empty() {
            // Without a live revision there is no canary.
            return;
        }
        for percent in self.request.strategy.canary.clone().into_iter().skip(from) {
            let title = format!("canary {percent} %");
            let ended = Some(now);
            let skipped = Step::begun(title, percent, now);
            self.steps.push(Step { state: State::Skipped, end: ended, message: PROMOTED.into(), ..skipped });
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
        self.steps.push(Step::begun(title, percent, now));
    }

    fn finish_step(&mut self, state: State, now: SystemTime) {
        self.updated = now;
        if let Some(step) = self.steps.last_mut().filter(|s| s.end.is_none()) {
            (step.state, step.end) = (state, Some(now));
        }
    }
}

impl Step {
    fn begun(title: String, percent: u8, now: SystemTime) -> Self {
        Self {
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
        }
    }
}
