//! The shape of a webhook: its headers, and that its body is a JSON object.

use http::{HeaderMap, HeaderValue};
use kfops_core::{Failure, Reason};
use serde::de::IgnoredAny;

/// `X-GitHub-Delivery` and `X-GitHub-Event`.
pub(super) fn identity(headers: &HeaderMap) -> Result<(String, String), Failure> {
    let id = header(headers, "X-GitHub-Delivery", "a GUID", is_guid)?.to_ascii_lowercase();
    let event = header(headers, "X-GitHub-Event", "the name of an event", is_event)?;
    Ok((id, event.to_owned()))
}

/// The content type is JSON.
pub(super) fn is_json(content_type: Option<&HeaderValue>) -> Result<(), Failure> {
    let media_type = content_type.and_then(|v| v.to_str().ok()).and_then(|v| v.split(';').next()).unwrap_or("");
    if media_type.trim().eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Failure::new(Reason::InvalidArgument, "the webhook's content type is not application/json")
        .action("choose application/json in the webhook's settings on GitHub"))
}

/// The body is a JSON object.
pub(super) fn is_object(body: &[u8]) -> Result<(), Failure> {
    let wrong = |what: String| Failure::new(Reason::InvalidArgument, format!("the body is not a JSON object: {what}"));
    let text = std::str::from_utf8(body).map_err(|error| wrong(error.to_string()))?;
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| wrong(error.to_string()))?;
    if text.trim_start().starts_with('{') { Ok(()) } else { Err(wrong("it is another value".into())) }
}

fn header<'a>(headers: &'a HeaderMap, name: &str, what: &str, valid: fn(&str) -> bool) -> Result<&'a str, Failure> {
    let mut all = headers.get_all(name).iter();
    match (all.next().and_then(|value| value.to_str().ok()), all.next()) {
        (Some(value), None) if valid(value) => Ok(value),
        (None, None) => Err(Failure::new(Reason::InvalidArgument, format!("the header {name} is missing")).on(name)),
        _ => Err(Failure::new(Reason::InvalidArgument, format!("the header {name} is not {what}")).on(name)),
    }
}

fn is_guid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|g| g.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn is_event(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guids() {
        assert!(is_guid("72d3162e-cc78-11e3-81ab-4c9367dc0958"));
        for bad in ["", "72d3162ecc7811e381ab4c9367dc0958", "72d3162e-cc78-11e3-81ab-4c9367dc095g", "../../etc/passwd"]
        {
            assert!(!is_guid(bad), "{bad}");
        }
    }

    #[test]
    fn bodies() {
        assert!(is_object(b" {\"a\": [1, 2]} ").is_ok());
        for bad in [&b""[..], b"{", b"[]", b"{} {}", b"{\"a\": \xff}", b"null", b"payload=%7B%7D"] {
            assert!(is_object(bad).is_err(), "{bad:?}");
        }
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        // Valid or not: it must not overflow the stack.
        is_object(deep.as_bytes()).ok();
    }
}
