//! Time: it passes while the bot lives as tokio's paused clock says, stands still between two lives, and the bot's own
//! clock may be wrong.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use kfops_core::Clock;
use kfops_scm_bot::ports::Entropy;
use tokio::time::Instant;

use super::rng::Rng;

/// When every world begins: 2026-01-01.
pub(crate) const BEGIN: Duration = Duration::from_secs(1_767_225_600);

#[derive(Default)]
struct Inner {
    /// What has passed before this stretch of the bot's life.
    before: Duration,
    /// When this stretch began.
    since: Option<Instant>,
    /// By how much the bot's clock is ahead of the world's, seconds.
    skew: i64,
}

#[derive(Default)]
pub(crate) struct Time(Mutex<Inner>);

impl Time {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has passed since the world began.
    pub(crate) fn passed(&self) -> Duration {
        let inner = self.lock();
        inner.before + inner.since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// The true time.
    pub(crate) fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + BEGIN + self.passed()
    }

    /// From now on tokio's clock counts. Within a runtime.
    pub(crate) fn enter(&self) {
        self.lock().since = Some(Instant::now());
    }

    /// From now on nothing passes. Within the same runtime.
    pub(crate) fn leave(&self) {
        let before = self.passed();
        let mut inner = self.lock();
        *inner = Inner { before, since: None, skew: inner.skew };
    }

    /// Nobody lives for so long.
    pub(crate) fn skip(&self, duration: Duration) {
        self.lock().before += duration;
    }

    /// Sets the bot's clock wrong.
    pub(crate) fn set_skew(&self, seconds: i64) {
        self.lock().skew = seconds;
    }
}

/// The bot's clock.
pub(crate) struct SimClock(pub(crate) std::sync::Arc<super::World>);

impl Clock for SimClock {
    fn now(&self) -> SystemTime {
        let skew = self.0.time.lock().skew;
        let (now, by) = (self.0.time.now(), Duration::from_secs(skew.unsigned_abs()));
        if skew < 0 { now - by } else { now + by }
    }
}

/// Trace ids from a seed.
pub(crate) struct SimEntropy(pub(crate) Mutex<Rng>);

impl Entropy for SimEntropy {
    fn trace(&self) -> [u8; 24] {
        let mut rng = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = [0; 24];
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&rng.next().to_le_bytes());
        }
        bytes
    }
}
