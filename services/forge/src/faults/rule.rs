//! Which requests and webhooks go wrong, how often, and how.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which of the matches are hit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pick {
    /// Matches that pass before the first hit.
    pub skip: u64,
    /// Hits after which the rule rests. Without it every match is hit.
    pub times: Option<u64>,
    /// Probability of a hit, from 0 to 1. Without it 1.
    pub chance: Option<f64>,
    /// Seed of that chance: the same seed hits the same matches.
    pub seed: u64,
}

impl Pick {
    /// The nth match only, counted from one.
    #[must_use]
    pub fn nth(number: u64) -> Self {
        Self { skip: number.saturating_sub(1), times: Some(1), ..Self::default() }
    }

    /// The next match only.
    #[must_use]
    pub fn once() -> Self {
        Self::nth(1)
    }

    /// Every match with that probability.
    #[must_use]
    pub fn chance(chance: f64, seed: u64) -> Self {
        Self { chance: Some(chance), seed, ..Self::default() }
    }
}

/// Which requests a rule is for: all that is given must fit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Requests {
    /// `GET`, `POST`, ...
    pub method: Option<String>,
    /// The path without `/api/v3`: `*` is anything within a segment, `**` anything.
    pub path: Option<String>,
    /// The name of a GraphQL operation, or of a field in its text.
    pub graphql: Option<String>,
    /// Which of them.
    #[serde(flatten)]
    pub pick: Pick,
}

impl Requests {
    /// Requests of a method to paths of that form.
    #[must_use]
    pub fn of(method: &str, path: &str) -> Self {
        Self { method: Some(method.to_owned()), path: Some(path.to_owned()), ..Self::default() }
    }

    /// GraphQL requests of that operation, or that ask for that field.
    #[must_use]
    pub fn graphql(name: &str) -> Self {
        Self { graphql: Some(name.to_owned()), ..Self::default() }
    }

    /// The same for some of the matches.
    #[must_use]
    pub fn pick(mut self, pick: Pick) -> Self {
        self.pick = pick;
        self
    }

    pub(super) fn fits(&self, request: &Seen<'_>) -> bool {
        self.method.as_ref().is_none_or(|method| method.eq_ignore_ascii_case(request.method))
            && self.path.as_ref().is_none_or(|path| glob(path, request.path))
            && self.graphql.as_ref().is_none_or(|name| request.graphql.is_some_and(|body| speaks_of(body, name)))
    }
}

/// A request as the rules see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) graphql: Option<&'a Value>,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// The connection is closed before anything is done.
    Refuse,
    /// Nothing is answered; the connection is closed after the limit.
    Hang {
        /// Whether what was asked for is done.
        #[serde(default)]
        effect: bool,
        /// How long.
        limit_millis: u64,
    },
    /// Another answer than the right one.
    Status(Status),
    /// Done, and half of the answer is sent before the connection is closed.
    Half,
    /// Done and answered after a while.
    Slow {
        /// How long.
        millis: u64,
    },
    /// Done, and answered with 502.
    Lost,
}

/// An answer that is not the right one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The status code.
    pub status: u16,
    /// Whether what was asked for is done all the same.
    pub effect: bool,
    /// Headers of the answer.
    pub headers: BTreeMap<String, String>,
    /// GitHub's `message`. Without it a text that fits the status.
    pub message: Option<String>,
}

impl Fault {
    /// An error without an effect.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::Status(Status { status, ..Status::default() })
    }

    /// An error after the effect.
    #[must_use]
    pub fn status_after_effect(status: u16) -> Self {
        Self::Status(Status { status, effect: true, ..Status::default() })
    }

    /// GitHub's secondary rate limit: 403 with its text, and when to come back.
    #[must_use]
    pub fn secondary_limit(retry_after_seconds: u64) -> Self {
        let text = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";
        let headers = BTreeMap::from([("retry-after".to_owned(), retry_after_seconds.to_string())]);
        Self::Status(Status { status: 403, effect: false, headers, message: Some(text.to_owned()) })
    }

    /// GitHub's primary rate limit: no request is left until `reset`, in seconds since 1970.
    #[must_use]
    pub fn rate_limit(reset: i64) -> Self {
        let headers = BTreeMap::from([
            ("x-ratelimit-remaining".to_owned(), "0".to_owned()),
            ("x-ratelimit-reset".to_owned(), reset.to_string()),
        ]);
        let message = Some("API rate limit exceeded for installation.".to_owned());
        Self::Status(Status { status: 403, effect: false, headers, message })
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Hang { .. } => "hang",
            Self::Status(_) => "status",
            Self::Half => "half",
            Self::Slow { .. } => "slow",
            Self::Lost => "lost",
        }
    }
}

/// Which webhooks a rule is for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Webhooks {
    /// `issue_comment`, `issue_comment.created`, `check_run.*`; all if absent.
    pub event: Option<String>,
    /// Whether sending again is meant too. Without it only first attempts are.
    pub redeliveries: bool,
    /// Which of them.
    #[serde(flatten)]
    pub pick: Pick,
}

impl Webhooks {
    /// Webhooks of that event, or `event.action`.
    #[must_use]
    pub fn of(event: &str) -> Self {
        Self { event: Some(event.to_owned()), ..Self::default() }
    }

    /// The same for some of the matches.
    #[must_use]
    pub fn pick(mut self, pick: Pick) -> Self {
        self.pick = pick;
        self
    }

    pub(super) fn fits(&self, event: &str, action: Option<&str>, redelivery: bool) -> bool {
        let whole = action.map_or_else(|| event.to_owned(), |action| format!("{event}.{action}"));
        (self.redeliveries || !redelivery)
            && self.event.as_ref().is_none_or(|wanted| wanted == event || glob(wanted, &whole))
    }
}

/// What becomes of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WebhookFault {
    /// It never arrives, and is shown as failed.
    Drop,
    /// It arrives, and is shown as failed all the same.
    Unheard,
    /// It arrives twice.
    Duplicate,
    /// It arrives after the next one of its hook, or after the limit if none comes.
    Reorder {
        /// How long the next one is waited for.
        limit_millis: u64,
    },
    /// It arrives later, and others pass it.
    Delay {
        /// How much later.
        millis: u64,
    },
}

/// Whether a GraphQL request has that operation name, or names that field.
fn speaks_of(body: &Value, name: &str) -> bool {
    let text = body["query"].as_str().unwrap_or_default();
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    body["operationName"].as_str() == Some(name) || text.split(word).any(|one| one == name)
}

/// `*` is anything without a slash, `**` anything.
fn glob(pattern: &str, text: &str) -> bool {
    fn fits(pattern: &[u8], text: &[u8]) -> bool {
        match pattern {
            [] => text.is_empty(),
            [b'*', b'*', rest @ ..] => (0..=text.len()).any(|at| fits(rest, &text[at..])),
            [b'*', rest @ ..] => {
                let end = text.iter().position(|&byte| byte == b'/').unwrap_or(text.len());
                (0..=end).any(|at| fits(rest, &text[at..]))
            }
            [first, rest @ ..] => text.split_first().is_some_and(|(byte, text)| byte == first && fits(rest, text)),
        }
    }
    fits(pattern.as_bytes(), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_know_segments() {
        assert!(glob("/repos/*/*/issues/*/comments", "/repos/team/iris/issues/1/comments"));
        assert!(!glob("/repos/*/issues", "/repos/team/iris/issues"));
        assert!(glob("/repos/**", "/repos/team/iris") && glob("/repos/**/merge", "/repos/a/b/pulls/1/merge"));
        assert!(!glob("/repos/*/*/pulls", "/repos/team/iris/pulls/1"));
    }

    #[test]
    fn operations_are_known_by_name_and_field() {
        let body = serde_json::json!({ "operationName": "Look", "query": "query Look { repository { id } }" });
        assert!(speaks_of(&body, "Look") && speaks_of(&body, "repository") && !speaks_of(&body, "repo"));
    }
}
