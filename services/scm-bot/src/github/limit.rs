//! What GitHub says about its limits.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, StatusCode};

/// GitHub resets its budgets every hour; nothing that it says makes us wait longer.
const LONGEST: Duration = Duration::from_secs(65 * 60);

/// Why the next request has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// The budget of the hour is spent; it is filled again after so long.
    Primary(Duration),
    /// Too much too fast; GitHub says how long to wait, or not.
    Secondary(Option<Duration>),
}

/// A limit that refused this request. `now` is GitHub's time.
pub(super) fn refused(status: StatusCode, headers: &HeaderMap, body: &[u8], now: SystemTime) -> Option<Limit> {
    if !matches!(status, StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS) {
        return None;
    }
    let after = number(headers, "retry-after").map(|seconds| Duration::from_secs(seconds).min(LONGEST));
    if let Some(limit) = spent(headers, now) {
        return Some(match (after, limit) {
            (Some(after), Limit::Primary(reset)) => Limit::Primary(after.max(reset)),
            (_, limit) => limit,
        });
    }
    let text = String::from_utf8_lossy(&body[..body.len().min(4096)]).to_ascii_lowercase();
    let told =
        ["secondary rate limit", "abuse detection", "rate limit exceeded"].iter().any(|words| text.contains(words));
    (after.is_some() || told || status == StatusCode::TOO_MANY_REQUESTS).then_some(Limit::Secondary(after))
}

/// The budget is spent, whether or not this request was still answered.
pub(super) fn spent(headers: &HeaderMap, now: SystemTime) -> Option<Limit> {
    if number(headers, "x-ratelimit-remaining") != Some(0) {
        return None;
    }
    let reset = number(headers, "x-ratelimit-reset").and_then(|at| UNIX_EPOCH.checked_add(Duration::from_secs(at)))?;
    let wait = reset.duration_since(now).unwrap_or_default();
    Some(Limit::Primary(wait.clamp(Duration::from_secs(1), LONGEST)))
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn every_way_of_saying_no_is_understood() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        let secs = Duration::from_secs;
        let spent = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1042")];
        let secondary = br#"{"message":"You have exceeded a secondary rate limit."}"#;
        for (status, pairs, body, limit) in [
            (403, &spent[..], &b"{}"[..], Some(Limit::Primary(secs(42)))),
            (429, &spent[..], b"{}", Some(Limit::Primary(secs(42)))),
            (403, &[("retry-after", "7")], b"{}", Some(Limit::Secondary(Some(secs(7))))),
            (403, &[("x-ratelimit-remaining", "4000")], secondary, Some(Limit::Secondary(None))),
            (429, &[], b"", Some(Limit::Secondary(None))),
            (429, &[("retry-after", "99999999999")], b"", Some(Limit::Secondary(Some(LONGEST)))),
            (403, &[], br#"{"message":"Resource not accessible by integration"}"#, None),
            (404, &spent, b"{}", None),
            // The clocks differ, or the reset is just now.
            (403, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "900")], b"", Some(Limit::Primary(secs(1)))),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(refused(status, &headers(pairs), body, now), limit, "{status} {pairs:?}");
        }
    }
}
