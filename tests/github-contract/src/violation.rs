//! What is wrong, and where.

use std::fmt;

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The client that asked.
    Request,
    /// The server that answered.
    Answer,
    /// The server that sent a webhook.
    Webhook,
}

/// One thing that is not as GitHub describes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Violation {
    /// Who did it.
    pub side: Side,
    /// Method and path template with the status of an answer, or event and action.
    pub operation: String,
    /// JSON pointer into the body; for other parts of a message their name, e.g. `query page`.
    pub at: String,
    /// What is wrong there.
    pub what: String,
}

impl Violation {
    pub(crate) fn new(
        side: Side,
        operation: impl Into<String>,
        at: impl Into<String>,
        what: impl Into<String>,
    ) -> Self {
        let what: String = what.into();
        let what =
            if what.chars().count() > 300 { what.chars().take(300).chain("…".chars()).collect() } else { what };
        Self { side, operation: operation.into(), at: at.into(), what }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::Request => "request",
            Side::Answer => "answer",
            Side::Webhook => "webhook",
        };
        write!(f, "{side} {} at {}: {}", self.operation, if self.at.is_empty() { "/" } else { &self.at }, self.what)
    }
}
