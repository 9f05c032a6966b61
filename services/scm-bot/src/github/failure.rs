//! What GitHub's refusals mean, in words that help.

use bytes::Bytes;
use http::StatusCode;
use kfops_core::{Failure, Reason};
use serde::de::DeserializeOwned;

use super::call::{Answer, Call};

/// GitHub, or the way to it, does not work. It may have had its effect.
pub(super) fn away(call: &Call<'_>, cause: &str) -> Failure {
    Failure::new(Reason::GithubUnavailable, format!("github: {}: {cause}", call.name))
        .on(call.resource())
        .action("it is tried again by itself; if it lasts, look at GitHub's status page")
}

/// What GitHub does not show.
pub(super) fn absent(what: &str) -> Failure {
    Failure::new(Reason::NotFound, format!("github: no {what}"))
        .action("look whether it is there and the bot may see it")
}

/// The App or token lacks a permission.
pub(super) fn forbidden(call: &Call<'_>, said: &str, needed: Option<&str>) -> Failure {
    let action = match needed {
        Some(needed) => {
            format!("grant the bot's GitHub App (or token) {needed}, and accept the change where it is installed")
        }
        None => {
            "grant the bot's GitHub App (or token) read and write access to contents, pull requests, issues, checks, \
                 commit statuses and deployments"
                .to_owned()
        }
    };
    Failure::new(Reason::PermissionDenied, format!("github: {}: 403 {said}", call.name).trim_end().to_owned())
        .on(call.resource())
        .action(action)
}

/// The body of an answer that says yes; what GitHub says otherwise.
pub(super) fn accepted(call: &Call<'_>, answer: Answer) -> Result<Bytes, Failure> {
    if answer.status.is_success() {
        return Ok(answer.body);
    }
    let said = said(&answer.body);
    let (reason, action) = match answer.status {
        StatusCode::UNAUTHORIZED => {
            (Reason::Unauthenticated, "give the bot a valid App key (github.app) or token (github.token)")
        }
        StatusCode::FORBIDDEN => {
            // GitHub names what would do.
            let needed = answer.headers.get("x-accepted-github-permissions").and_then(|needed| needed.to_str().ok());
            let needed =
                needed.map(|needed| format!("the permission {}", needed.replace('=', ": ").replace(';', " or")));
            return Err(forbidden(call, &said, needed.as_deref()));
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            (Reason::NotFound, "look whether the repository is there and the bot may see it")
        }
        StatusCode::UNPROCESSABLE_ENTITY => (Reason::InvalidArgument, ""),
        _ => (Reason::Internal, ""),
    };
    let message = format!("github: {}: {} {said}", call.name, answer.status.as_u16());
    Err(Failure::new(reason, message.trim_end()).on(call.resource()).action(action))
}

/// The `message` of an error.
pub(super) fn said(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Said {
        message: String,
    }
    serde_json::from_slice::<Said>(body).map(|said| brief(&said.message)).unwrap_or_default()
}

/// As much of what GitHub says as belongs into a message.
pub(super) fn brief(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

pub(super) fn json<T: DeserializeOwned>(call: &Call<'_>, body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| unexpected(call, &error))
}

pub(super) fn unexpected(call: &Call<'_>, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Reason::Internal, format!("github: {}: unexpected answer: {error}", call.name)).on(call.resource())
}
