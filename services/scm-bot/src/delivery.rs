//! A webhook's payload: what of it is a command. Only what is needed is read, and nothing in it is believed but what
//! GitHub signs for: who commented what where.

use kfops_core::{Failure, Reason};
use serde::{Deserialize, de::IgnoredAny};

use crate::{
    command::Repository,
    grammar::{self, Line},
};

/// The commands of a comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comment {
    /// Where.
    pub repository: Repository,
    /// Where.
    pub pull_request: u64,
    /// The comment.
    pub id: u64,
    /// Who.
    pub actor: String,
    /// What; never empty.
    pub lines: Vec<Line>,
}

#[derive(Deserialize)]
struct Payload {
    action: String,
    issue: Issue,
    comment: CommentBody,
    repository: RepositoryBody,
    sender: Option<User>,
}

#[derive(Deserialize)]
struct Issue {
    number: u64,
    pull_request: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct CommentBody {
    id: u64,
    body: Option<String>,
    user: Option<User>,
}

#[derive(Deserialize)]
struct User {
    login: String,
    #[serde(default, rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct RepositoryBody {
    full_name: String,
}

/// Reads a delivery; None when it is of no interest.
pub fn read(event: &str, payload: &[u8], bot_login: &str) -> Result<Option<Comment>, Failure> {
    let wrong = |message: String| Failure::new(Reason::InvalidArgument, message).on("payload");
    if event != "issue_comment" {
        serde_json::from_slice::<IgnoredAny>(payload).map_err(|error| wrong(format!("not JSON: {error}")))?;
        return Ok(None);
    }
    let payload: Payload =
        serde_json::from_slice(payload).map_err(|error| wrong(format!("not an issue_comment event: {error}")))?;
    // Edited and deleted comments start nothing: what was read once is what counts.
    if payload.action != "created" || payload.issue.pull_request.is_none() {
        return Ok(None);
    }
    let Some(user) = payload.comment.user else { return Ok(None) };
    let bot = |user: &User| user.kind == "Bot" || user.login.eq_ignore_ascii_case(bot_login);
    if bot(&user) || payload.sender.as_ref().is_some_and(bot) {
        return Ok(None);
    }
    let repository = Repository::parse(&payload.repository.full_name).map_err(wrong)?;
    if !login(&user.login) {
        return Err(wrong("comment.user.login is not a login".to_owned()));
    }
    let body = payload.comment.body.unwrap_or_default();
    // Our own words, should the settings name the wrong login: answering them would never end.
    if body.starts_with("<!-- kfops:") {
        return Ok(None);
    }
    let lines = grammar::parse(&body);
    Ok((!lines.is_empty()).then_some(Comment {
        repository,
        pull_request: payload.issue.number,
        id: payload.comment.id,
        actor: user.login,
        lines,
    }))
}

/// Whether the text can be a GitHub login: it becomes part of a URL.
#[must_use]
pub fn login(text: &str) -> bool {
    (1..=100).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '[' | ']'))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn payload(change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
        let mut payload = json!({
            "action": "created",
            "issue": {"number": 3, "pull_request": {"url": "x"}, "title": "$(touch x)"},
            "comment": {"id": 7, "body": "/deploy", "user": {"login": "author", "type": "User"}},
            "repository": {"full_name": "o/r", "owner": {"login": "o"}},
            "sender": {"login": "author", "type": "User"},
        });
        change(&mut payload);
        serde_json::to_vec(&payload).unwrap()
    }

    #[test]
    fn a_comment_on_a_pull_request_is_read() {
        let comment = read("issue_comment", &payload(|_| {}), "kfops[bot]").unwrap().unwrap();
        assert_eq!((comment.pull_request, comment.id, comment.actor.as_str()), (3, 7, "author"));
    }

    #[test]
    fn the_rest_is_of_no_interest() {
        let changes: [fn(&mut serde_json::Value); 8] = [
            |p| p["action"] = "edited".into(),
            |p| p["action"] = "deleted".into(),
            |p| p["issue"]["pull_request"] = serde_json::Value::Null,
            |p| p["comment"]["user"]["type"] = "Bot".into(),
            |p| p["comment"]["user"]["login"] = "Kfops[bot]".into(),
            |p| p["comment"]["body"] = "please do not /deploy yet".into(),
            |p| p["comment"]["body"] = serde_json::Value::Null,
            |p| p["comment"]["body"] = "<!-- kfops:c-1 -->\n\n/deploy".into(),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert_eq!(read("issue_comment", &payload(change), "kfops[bot]").unwrap(), None, "case {number}");
        }
        assert_eq!(read("push", b"{}", "kfops[bot]").unwrap(), None);
    }

    #[test]
    fn broken_payloads_are_refused() {
        for (event, payload) in [
            ("issue_comment", b"{".to_vec()),
            ("issue_comment", b"{}".to_vec()),
            ("issue_comment", payload(|p| p["repository"]["full_name"] = "../../x".into())),
            ("issue_comment", payload(|p| p["comment"]["user"]["login"] = "a/../b".into())),
            ("push", b"not json".to_vec()),
        ] {
            assert_eq!(read(event, &payload, "kfops[bot]").unwrap_err().reason, Reason::InvalidArgument);
        }
    }
}
