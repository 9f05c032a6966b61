//! Pushes: which commit a comment can have meant. Only GitHub's clock counts: webhooks come late, twice, in any order.

use std::time::SystemTime;

use crate::{
    command::{Command, Repository},
    step::Stage,
};

/// The branch of a pull request moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// Where.
    pub repository: Repository,
    /// Where.
    pub pull_request: u64,
    /// The head before.
    pub before: String,
    /// The head since.
    pub head: String,
    /// When, by GitHub's clock: whole seconds.
    pub at: SystemTime,
}

impl Push {
    /// Whether it came after a push to `head` at `at`.
    #[must_use]
    pub fn follows(&self, head: &str, at: SystemTime) -> bool {
        self.at > at || (self.at == at && self.before == head)
    }
}

impl Command {
    /// Notes that a push which is known already came after the comment, if it did. Whether anything changed.
    pub fn written_before(&mut self, head: &str, at: SystemTime) -> bool {
        // In the same second: who came here first was first.
        let before = self.verb.about_code() && self.written.is_some_and(|written| written < at);
        if before {
            self.superseded_by = Some(head.to_owned());
        }
        before
    }

    /// Notes a push that was heard of just now, if it is about what was asked for before; `newest` is the head after the
    /// newest push that is known. Whether anything changed.
    pub fn overtaken(&mut self, push: &Push, newest: &str, heard: SystemTime) -> bool {
        if self.state.ended() || self.outcome.is_some() || self.unmeant() || !self.verb.about_code() {
            return false;
        }
        let bound = self.pull.as_ref().map(|pull| pull.head.as_str());
        let same = bound == Some(push.head.as_str());
        let before = match self.written {
            Some(written) => written < push.at || (written == push.at && !same),
            // By our clock: one without a head has not looked yet, and one with this head knows it.
            None => self.received <= push.at.min(heard) && bound.is_some() && !same,
        };
        if !before || (self.begun() && !same) {
            return false;
        }
        // What is bound to the very commit must not be taken for one that goes on with an older one.
        let by = if same { push.head.as_str() } else { newest };
        self.superseded_by.replace(by.to_owned()).as_deref() != Some(by)
    }

    /// Whether it is about a commit that was pushed after it was written: it ends, however far it is, but for what is live
    /// already.
    #[must_use]
    pub fn unmeant(&self) -> bool {
        self.superseded_by.is_some()
            && self.superseded_by.as_deref() == self.pull.as_ref().map(|pull| pull.head.as_str())
    }

    /// Whether it ends because of a push.
    #[must_use]
    pub fn superseded(&self) -> bool {
        let ends = if self.unmeant() { !self.progress(Stage::Rollout).done() } else { !self.begun() };
        self.superseded_by.is_some() && self.verb.about_code() && ends
    }
}

#[cfg(test)]
#[path = "push_tests.rs"]
mod tests;
