//! Places in time: by the clock, and after everything that this process has seen of others, whose clocks may be ahead.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::SystemTime,
};

use super::times::micros;

/// How far another replica's clock is believed to be ahead, microseconds.
const AHEAD: i64 = 60_000_000;

#[derive(Debug, Default)]
pub(super) struct Sequence(AtomicI64);

impl Sequence {
    /// The next place.
    pub(super) fn next(&self, now: SystemTime) -> i64 {
        let now = micros(now);
        let next = |last: i64| Some(last.saturating_add(1).max(now));
        let last = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or_default();
        last.saturating_add(1).max(now)
    }

    /// Notes a place that somebody took.
    pub(super) fn seen(&self, place: i64, now: SystemTime) {
        if place <= micros(now).saturating_add(AHEAD) {
            self.0.fetch_max(place, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn places_follow_the_clock_and_each_other() {
        let sequence = Sequence::default();
        let now = UNIX_EPOCH + Duration::from_secs(100);
        assert_eq!(sequence.next(now), 100_000_000);
        assert_eq!(sequence.next(now), 100_000_001);
        // Set back.
        assert_eq!(sequence.next(now - Duration::from_secs(50)), 100_000_002);
        sequence.seen(100_500_000, now);
        assert_eq!(sequence.next(now), 100_500_001);
        // A clock that is out of its mind takes nobody with it.
        sequence.seen(i64::MAX, now);
        assert_eq!(sequence.next(now), 100_500_002);
    }
}
