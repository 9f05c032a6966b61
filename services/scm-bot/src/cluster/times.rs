//! Times as Kubernetes writes them, exact to the nanosecond.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// 9999-12-31: no later time can be written.
const LAST: Duration = Duration::from_secs(253_402_300_799);

pub(super) fn text(time: SystemTime) -> String {
    humantime::format_rfc3339_nanos(time.clamp(UNIX_EPOCH, UNIX_EPOCH + LAST)).to_string()
}

pub(super) fn read(text: &str) -> Option<SystemTime> {
    humantime::parse_rfc3339_weak(text).ok()
}

/// What the ledger compares ages by.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs())
}

pub(super) fn millis(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).ok().and_then(|age| i64::try_from(age.as_millis()).ok()).unwrap_or(0)
}

pub(super) fn micros(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).ok().and_then(|age| i64::try_from(age.as_micros()).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back() {
        for nanos in [0, 1, 999_999_999, 1_763_743_123_456_789_012] {
            let time = UNIX_EPOCH + Duration::from_nanos(nanos);
            assert_eq!(read(&text(time)), Some(time));
        }
        assert_eq!(text(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000000000Z");
        assert!(text(UNIX_EPOCH + LAST * 2).starts_with("9999"));
    }
}
