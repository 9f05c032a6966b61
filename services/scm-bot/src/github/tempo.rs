//! How patient the client is. Tests are less so.

use std::time::Duration;

/// How patient the client is.
#[derive(Debug, Clone, Copy)]
pub struct Tempo {
    /// One request, from its start to the end of its answer.
    pub timeout: Duration,
    /// Longest wait for GitHub's limits within a call; who would wait longer fails, and hears until when.
    pub patience: Duration,
    /// First pause before a read is repeated; doubled each time, a random part of it is slept.
    pub backoff: Duration,
    /// Most requests for a read.
    pub tries: usize,
    /// Least pause after a secondary limit that does not say how long; doubled each time.
    pub secondary: Duration,
    /// Pause between two writes to one repository, after the first few.
    pub spacing: Duration,
    /// How many writes to one repository may follow each other without a pause.
    pub burst: u32,
    /// Most requests at the same time.
    pub at_once: usize,
}

impl Tempo {
    /// As GitHub asks for it.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            patience: timeout.min(Duration::from_secs(15)),
            backoff: Duration::from_millis(400),
            tries: 4,
            secondary: Duration::from_secs(60),
            spacing: Duration::from_secs(1),
            burst: 5,
            at_once: 10,
        }
    }
}
