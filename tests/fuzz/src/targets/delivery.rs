//! Webhooks. The first line is the event, the rest is the body.

use kfops_scm_bot::delivery::{Event, login, read};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::ensure;

const BOT: &str = "kfops[bot]";

pub(super) fn check(input: &[u8]) -> Result<(), String> {
    let split = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let event = String::from_utf8_lossy(&input[..split]);
    let payload = input.get(split + 1..).unwrap_or_default();
    // The gateway refuses what is no UTF-8; in fields that nobody reads it is not seen here.
    if std::str::from_utf8(payload).is_err() {
        read(&event, payload, BOT).ok();
        return Ok(());
    }
    let Ok(Some(found)) = read(&event, payload, BOT) else { return Ok(()) };
    serde_json::from_slice::<IgnoredAny>(payload).map_err(|error| format!("read {found:?} from no JSON: {error}"))?;
    // A number that no float holds is JSON all the same.
    let Ok(json) = serde_json::from_slice::<Value>(payload) else { return Ok(()) };
    let Event::Comment(comment) = &found else { return Ok(()) };
    ensure(event == "issue_comment" && json["action"] == "created", || "read from another event".into())?;
    ensure(!json["issue"]["pull_request"].is_null(), || "read from an issue".into())?;
    ensure(login(&comment.actor), || format!("{} is no login", comment.actor))?;
    ensure(!comment.actor.eq_ignore_ascii_case(BOT), || "read from the bot itself".into())?;
    ensure(json["comment"]["user"]["type"] != "Bot" && json["sender"]["type"] != "Bot", || "read from a bot".into())?;
    ensure(!comment.lines.is_empty(), || "there is nothing to do".into())?;
    let name = comment.repository.to_string();
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['/', '\\', '?', '#', '%', ' ']);
    ensure(name.split_once('/').is_some_and(|(owner, name)| plain(owner) && plain(name)), || {
        format!("{name} is no repository")
    })?;
    // Unknown fields change nothing.
    let mut more = json;
    more["zebra"] = payload.len().into();
    let text = serde_json::to_vec(&more).map_err(|error| error.to_string())?;
    let again = read(&event, &text, BOT).map_err(|failure| failure.to_string())?;
    ensure(again.as_ref() == Some(&found), || format!("an unknown field changes it: {again:?}"))
}
