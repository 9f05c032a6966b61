//! Times as GitHub writes them: UTC, whole seconds, RFC 3339.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

tokio::task_local! {
    /// How many seconds the forge whose work this is lies ahead of the machine.
    static SHIFT: i64;
}

/// Does work of a forge whose clock is that many seconds ahead.
pub(crate) async fn shifted<F: Future>(seconds: i64, work: F) -> F::Output {
    SHIFT.scope(seconds, work).await
}

/// The same, for work that blocks.
pub(crate) fn shifted_now<T>(seconds: i64, work: impl FnOnce() -> T) -> T {
    SHIFT.sync_scope(seconds, work)
}

fn current() -> OffsetDateTime {
    let shift = SHIFT.try_with(|seconds| *seconds).unwrap_or(0);
    let now = OffsetDateTime::now_utc();
    now.checked_add(time::Duration::seconds(shift)).unwrap_or(now)
}

/// Now.
pub(crate) fn now() -> String {
    format(current())
}

/// Seconds since 1970, now.
pub(crate) fn unix() -> i64 {
    current().unix_timestamp()
}

/// Now, for a `Date` header.
pub(crate) fn http_date() -> String {
    let form = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    current().format(&form).unwrap_or_default()
}

/// From seconds since 1970, as git tells time.
pub(crate) fn from_unix(seconds: i64) -> String {
    format(OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH))
}

/// A time that a caller sent, brought to UTC and whole seconds.
pub(crate) fn parse(text: &str) -> Option<String> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(format)
}

/// How long ago, in words for a page.
pub(crate) fn ago(text: &str) -> String {
    let Ok(then) = OffsetDateTime::parse(text, &Rfc3339) else { return text.to_owned() };
    let seconds = (current() - then).whole_seconds().max(0);
    let (count, unit) = match seconds {
        0..60 => return "just now".to_owned(),
        60..3600 => (seconds / 60, "minute"),
        3600..86400 => (seconds / 3600, "hour"),
        _ => (seconds / 86400, "day"),
    };
    format!("{count} {unit}{} ago", if count == 1 { "" } else { "s" })
}

fn format(time: OffsetDateTime) -> String {
    let time = time.to_offset(time::UtcOffset::UTC).replace_nanosecond(0).unwrap_or(time);
    time.format(&Rfc3339).unwrap_or_else(|_| "1970-01-01T00:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_become_utc() {
        assert_eq!(parse("2026-11-21T09:00:00.5+02:00").as_deref(), Some("2026-11-21T07:00:00Z"));
        assert_eq!(parse("yesterday"), None);
        assert_eq!(from_unix(0), "1970-01-01T00:00:00Z");
    }
}
