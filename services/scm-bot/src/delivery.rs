//! A webhook's payload: what of it is a command. Only what is needed is read, and nothing in it is believed but what
//! GitHub signs for: who commented what where.

use std::time::SystemTime;

use kfops_core::{Failure, Reason, ResourceId};
use serde::{Deserialize, de::IgnoredAny};

use crate::{
    command::Repository,
    grammar::{self, Line},
    ports::Button,
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
    /// When, as GitHub says.
    pub written: Option<SystemTime>,
    /// As written.
    pub body: String,
    /// What of it are commands; never empty.
    pub lines: Vec<Line>,
}

/// What a delivery says that is of interest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It could have, and says nothing; remembered so that nobody looks for it again.
    Nothing,
    /// Somebody wrote commands.
    Comment(Comment),
    /// The branch of a pull request moved.
    Moved {
        /// Where.
        repository: Repository,
        /// Where.
        pull_request: u64,
        /// The head before; empty if GitHub does not say.
        before: String,
        /// The new head.
        head: String,
        /// When, as GitHub says.
        at: Option<SystemTime>,
    },
    /// Somebody pressed a button of a check run.
    Pressed(Press),
}

impl Event {
    /// Where it happened.
    #[must_use]
    pub const fn repository(&self) -> Option<&Repository> {
        match self {
            Self::Nothing => None,
            Self::Comment(Comment { repository, .. })
            | Self::Moved { repository, .. }
            | Self::Pressed(Press { repository, .. }) => Some(repository),
        }
    }
}

/// A button that was pressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Press {
    /// Where.
    pub repository: Repository,
    /// Id of the check run.
    pub check: u64,
    /// Id of the command that the check run belongs to, as it says.
    pub command: String,
    /// Which.
    pub button: Button,
    /// Who.
    pub actor: String,
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
    created_at: Option<String>,
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

#[derive(Deserialize)]
struct PullPayload {
    action: String,
    number: u64,
    pull_request: PullBody,
    repository: RepositoryBody,
    before: Option<String>,
    after: Option<String>,
}

#[derive(Deserialize)]
struct PullBody {
    head: Head,
    updated_at: Option<String>,
}

#[derive(Deserialize)]
struct Head {
    sha: String,
}

#[derive(Deserialize)]
struct CheckPayload {
    action: String,
    check_run: CheckBody,
    requested_action: Option<ActionBody>,
    repository: RepositoryBody,
    sender: User,
}

#[derive(Deserialize)]
struct CheckBody {
    id: u64,
    external_id: Option<String>,
}

#[derive(Deserialize)]
struct ActionBody {
    identifier: String,
}

fn wrong(message: String) -> Failure {
    Failure::new(Reason::InvalidArgument, message).on("payload")
}

/// Reads a delivery; None when it is of no interest.
pub fn read(event: &str, payload: &[u8], bot_login: &str) -> Result<Option<Event>, Failure> {
    match event {
        "issue_comment" => read_comment(payload, bot_login),
        "pull_request" => read_pull(payload),
        "check_run" => read_check(payload, bot_login),
        _ => {
            serde_json::from_slice::<IgnoredAny>(payload).map_err(|error| wrong(format!("not JSON: {error}")))?;
            Ok(None)
        }
    }
}

fn read_comment(payload: &[u8], bot_login: &str) -> Result<Option<Event>, Failure> {
    let payload: Payload =
        serde_json::from_slice(payload).map_err(|error| wrong(format!("not an issue_comment event: {error}")))?;
    // Edited and deleted comments start nothing: what was read once is what counts.
    if payload.action != "created" {
        return Ok(None);
    }
    if payload.issue.pull_request.is_none() {
        return Ok(Some(Event::Nothing));
    }
    let Some(user) = payload.comment.user else { return Ok(Some(Event::Nothing)) };
    let bot = |user: &User| user.kind == "Bot" || user.login.eq_ignore_ascii_case(bot_login);
    if bot(&user) || payload.sender.as_ref().is_some_and(bot) {
        return Ok(Some(Event::Nothing));
    }
    let repository = Repository::parse(&payload.repository.full_name).map_err(wrong)?;
    if !login(&user.login) {
        return Err(wrong("comment.user.login is not a login".to_owned()));
    }
    let body = payload.comment.body.unwrap_or_default();
    // Our own words, should the settings name the wrong login: answering them would never end.
    if body.starts_with("<!-- kfops:") {
        return Ok(Some(Event::Nothing));
    }
    let lines = grammar::parse(&body);
    if lines.is_empty() {
        return Ok(Some(Event::Nothing));
    }
    Ok(Some(Event::Comment(Comment {
        repository,
        pull_request: payload.issue.number,
        id: payload.comment.id,
        actor: user.login,
        written: time(payload.comment.created_at),
        body,
        lines,
    })))
}

/// A time as GitHub writes it.
fn time(text: Option<String>) -> Option<SystemTime> {
    text.and_then(|text| humantime::parse_rfc3339_weak(&text).ok())
}

fn is_commit(text: &str) -> bool {
    (40..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn read_pull(payload: &[u8]) -> Result<Option<Event>, Failure> {
    let payload: PullPayload =
        serde_json::from_slice(payload).map_err(|error| wrong(format!("not a pull_request event: {error}")))?;
    if payload.action != "synchronize" {
        return Ok(None);
    }
    // The push that this is about; the branch may have moved again since.
    let head = payload.after.unwrap_or(payload.pull_request.head.sha);
    if !is_commit(&head) {
        return Err(wrong("after or pull_request.head.sha is not a commit".to_owned()));
    }
    let repository = Repository::parse(&payload.repository.full_name).map_err(wrong)?;
    let before = payload.before.filter(|before| is_commit(before)).unwrap_or_default();
    let at = time(payload.pull_request.updated_at);
    Ok(Some(Event::Moved { repository, pull_request: payload.number, before, head, at }))
}

fn read_check(payload: &[u8], bot_login: &str) -> Result<Option<Event>, Failure> {
    let payload: CheckPayload =
        serde_json::from_slice(payload).map_err(|error| wrong(format!("not a check_run event: {error}")))?;
    let button = match (payload.action.as_str(), payload.requested_action.as_ref()) {
        ("rerequested", _) => Some(Button::Retry),
        ("requested_action", Some(action)) => {
            [Button::Retry, Button::Cancel].into_iter().find(|button| button.identifier() == action.identifier)
        }
        _ => return Ok(None),
    };
    let command = payload.check_run.external_id.filter(|id| ResourceId::parse(id).is_ok());
    let (Some(button), Some(command)) = (button, command) else { return Ok(Some(Event::Nothing)) };
    let actor = payload.sender;
    if actor.kind == "Bot" || actor.login.eq_ignore_ascii_case(bot_login) || !login(&actor.login) {
        return Ok(Some(Event::Nothing));
    }
    let repository = Repository::parse(&payload.repository.full_name).map_err(wrong)?;
    Ok(Some(Event::Pressed(Press { repository, check: payload.check_run.id, command, button, actor: actor.login })))
}

/// Whether the text can be a GitHub login: it becomes part of a URL.
#[must_use]
pub fn login(text: &str) -> bool {
    (1..=100).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '[' | ']'))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::json;

    use super::*;

    fn payload(change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
        let mut payload = json!({
            "action": "created",
            "issue": {"number": 3, "pull_request": {"url": "x"}, "title": "$(touch x)"},
            "comment": {"id": 7, "body": "/deploy", "user": {"login": "author", "type": "User"},
                        "created_at": "1970-01-01T00:01:05Z"},
            "repository": {"full_name": "o/r", "owner": {"login": "o"}},
            "sender": {"login": "author", "type": "User"},
        });
        change(&mut payload);
        serde_json::to_vec(&payload).unwrap()
    }

    #[test]
    fn a_comment_on_a_pull_request_is_read() {
        let read = read("issue_comment", &payload(|_| {}), "kfops[bot]").unwrap();
        let Some(Event::Comment(comment)) = read else { panic!("{read:?}") };
        assert_eq!((comment.pull_request, comment.id, comment.actor.as_str()), (3, 7, "author"));
        assert_eq!(comment.written, Some(UNIX_EPOCH + Duration::from_secs(65)));
        assert_eq!(comment.body, "/deploy");
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
            let read = read("issue_comment", &payload(change), "kfops[bot]").unwrap();
            assert!(matches!(read, None | Some(Event::Nothing)), "case {number}: {read:?}");
        }
        assert_eq!(read("push", b"{}", "kfops[bot]").unwrap(), None);
    }

    #[test]
    fn a_push_and_a_button_are_read() {
        let (first, second) = ("3".repeat(40), "4".repeat(40));
        // By the time it was sent there was another one.
        let pushed = json!({
            "action": "synchronize", "number": 3, "before": first, "after": second,
            "pull_request": {"head": {"sha": "5".repeat(40)}, "updated_at": "1970-01-01T00:01:05Z"},
            "repository": {"full_name": "o/r"},
        });
        let event = read("pull_request", &serde_json::to_vec(&pushed).unwrap(), "b").unwrap().unwrap();
        let moved = Event::Moved {
            repository: Repository::parse("o/r").unwrap(),
            pull_request: 3,
            before: first,
            head: second,
            at: Some(UNIX_EPOCH + Duration::from_secs(65)),
        };
        assert_eq!(event, moved);
        let mut pressed = json!({
            "action": "requested_action", "requested_action": {"identifier": "cancel"},
            "check_run": {"id": 9, "external_id": "c-1"}, "repository": {"full_name": "o/r"},
            "sender": {"login": "boss", "type": "User"},
        });
        let event = read("check_run", &serde_json::to_vec(&pressed).unwrap(), "b").unwrap().unwrap();
        let Event::Pressed(press) = event else { panic!("{event:?}") };
        assert_eq!((press.button, press.command.as_str(), press.actor.as_str()), (Button::Cancel, "c-1", "boss"));
        pressed["check_run"]["external_id"] = "../x".into();
        let event = read("check_run", &serde_json::to_vec(&pressed).unwrap(), "b").unwrap();
        assert_eq!(event, Some(Event::Nothing));
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
