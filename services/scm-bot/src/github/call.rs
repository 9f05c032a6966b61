//! One request, as it is asked for, and its answer.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

use crate::command::Repository;

/// GitHub documents smaller answers; this stops whoever is not GitHub.
const LARGEST_ANSWER: usize = 16 << 20;
/// GitHub's own media type.
const JSON: &str = "application/vnd.github+json";

/// Name of a write that does nothing but answer, so that merges and last words of work go ahead of it.
pub(super) const ANSWER: &str = "mutation answer";

/// As whom, and about what.
#[derive(Debug, Clone, Copy)]
pub(super) enum About<'a> {
    /// The App itself.
    App,
    /// A repository.
    Repository(&'a Repository),
    /// An organization.
    Organization(&'a str),
}

/// Which of GitHub's budgets pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Budget {
    /// REST.
    Core,
    /// GraphQL.
    GraphQl,
}

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Call<'a> {
    /// For logs, spans and messages.
    pub(super) name: &'static str,
    pub(super) method: Method,
    /// Begins with a slash; empty: GraphQL.
    pub(super) path: Cow<'a, str>,
    pub(super) about: About<'a>,
    pub(super) body: Option<Value>,
    /// It changes nothing, so that it may be repeated.
    pub(super) reads: bool,
    pub(super) accept: &'static str,
    /// Most bytes of the answer.
    pub(super) largest: usize,
    /// Ask whether the answer has changed, and keep it.
    pub(super) keep: bool,
    /// A write that others go ahead of.
    pub(super) later: bool,
    /// The answer takes long to arrive.
    pub(super) long: bool,
}

impl<'a> Call<'a> {
    fn new(name: &'static str, method: Method, path: Cow<'a, str>, about: About<'a>) -> Self {
        let reads = method == Method::GET;
        Self {
            name,
            method,
            path,
            about,
            body: None,
            reads,
            accept: JSON,
            largest: LARGEST_ANSWER,
            keep: false,
            later: name == ANSWER,
            long: false,
        }
    }

    pub(super) fn get(name: &'static str, path: impl Into<Cow<'a, str>>, about: About<'a>) -> Self {
        Self::new(name, Method::GET, path.into(), about)
    }

    pub(super) fn change(
        name: &'static str,
        method: Method,
        path: impl Into<Cow<'a, str>>,
        about: About<'a>,
        body: Value,
    ) -> Self {
        Self { body: Some(body), ..Self::new(name, method, path.into(), about) }
    }

    pub(super) fn graphql(name: &'static str, about: About<'a>, reads: bool, body: Value) -> Self {
        Self { body: Some(body), reads, ..Self::new(name, Method::POST, Cow::Borrowed(""), about) }
    }

    pub(super) fn budget(&self) -> Budget {
        if self.path.is_empty() { Budget::GraphQl } else { Budget::Core }
    }

    /// For messages.
    pub(super) fn resource(&self) -> String {
        match self.about {
            About::Repository(repository) if self.path.is_empty() => repository.to_string(),
            _ => self.path.split('?').next().unwrap_or_default().to_owned(),
        }
    }
}

/// An answer that is no failure of the transport.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// A part of a path or query.
pub(super) fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_stay_in_their_place() {
        assert_eq!(encode("$(touch x)/../a?b#c"), "%24%28touch%20x%29%2F..%2Fa%3Fb%23c");
    }
}
