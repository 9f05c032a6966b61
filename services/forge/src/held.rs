//! Webhooks that a fault holds back while others pass.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::faults::WebhookFault;

/// What one hook's sender holds back.
#[derive(Debug, Default)]
pub(crate) struct Held {
    waiting: Vec<Wait>,
    /// Held once; nothing holds them again.
    released: HashSet<i64>,
}

#[derive(Debug)]
struct Wait {
    delivery: i64,
    until: Instant,
    /// Whether the next one that is sent sets it free.
    next_frees: bool,
}

impl Held {
    /// Whether a fault is still to be asked about a delivery.
    pub(crate) fn is_fresh(&self, delivery: i64) -> bool {
        !self.released.contains(&delivery)
    }

    /// Holds a delivery back if the fault says so.
    pub(crate) fn hold(&mut self, delivery: i64, fault: WebhookFault) -> bool {
        let (millis, next_frees) = match fault {
            WebhookFault::Delay { millis } => (millis, false),
            WebhookFault::Reorder { limit_millis } => (limit_millis, true),
            _ => return false,
        };
        let until = Instant::now() + Duration::from_millis(millis);
        self.waiting.push(Wait { delivery, until, next_frees });
        true
    }

    /// One was sent: it is no longer of interest, and those that waited for it may follow.
    pub(crate) fn sent(&mut self, delivery: i64) {
        self.released.remove(&delivery);
        for wait in self.waiting.iter_mut().filter(|wait| wait.next_frees) {
            wait.until = Instant::now();
        }
    }

    /// The deliveries that must not be sent yet.
    pub(crate) fn back(&mut self) -> Vec<i64> {
        let now = Instant::now();
        let (free, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(|wait| wait.until <= now);
        let free: Vec<Wait> = free;
        self.released.extend(free.into_iter().map(|wait| wait.delivery));
        self.waiting = waiting;
        self.waiting.iter().map(|wait| wait.delivery).collect()
    }

    /// When the next one is free by itself.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.waiting.iter().map(|wait| wait.until).min()
    }
}
