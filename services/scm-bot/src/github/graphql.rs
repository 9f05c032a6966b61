//! GraphQL: one endpoint, whose refusals come with status 200, for each part of a request on its own.

use std::time::SystemTime;

use kfops_core::{Failure, Reason};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    call::{About, Answer, Budget, Call},
    client::GitHubClient,
    failure::{accepted, away, brief, forbidden, json, unexpected},
    limit::{self, Limit},
};
use crate::{command::Repository, ports::Meter};

/// An answer.
#[derive(Debug, Deserialize)]
pub(super) struct Reply {
    #[serde(default)]
    pub(super) data: Value,
    #[serde(default)]
    errors: Option<Vec<Fault>>,
}

/// Why a part of it is missing.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Fault {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    path: Option<Vec<Value>>,
    #[serde(default)]
    message: String,
}

/// What an answer with status 200 says of GitHub itself.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    limited: bool,
    partial: bool,
    away: Option<String>,
}

impl Verdict {
    pub(super) fn limit(&self, answer: &Answer, now: SystemTime) -> Option<Limit> {
        self.limited.then(|| limit::spent(&answer.headers, now).unwrap_or(Limit::Secondary(None)))
    }

    /// Some of it was done.
    pub(super) const fn partial(&self) -> bool {
        self.partial
    }

    pub(super) fn away(&self) -> Option<String> {
        self.away.clone().filter(|_| !self.partial)
    }
}

/// Reads only what may speak of limits and faults.
pub(super) fn verdict(call: &Call<'_>, answer: &Answer) -> Verdict {
    if call.budget() != Budget::GraphQl || !answer.status.is_success() {
        return Verdict::default();
    }
    let Ok(reply) = serde_json::from_slice::<Reply>(&answer.body) else { return Verdict::default() };
    let faults = reply.errors.unwrap_or_default();
    let any = |value: &Value| value.as_object().is_some_and(|parts| parts.values().any(|part| !part.is_null()));
    Verdict {
        limited: faults.iter().any(Fault::limited),
        partial: any(&reply.data),
        away: faults.iter().find(|fault| fault.away()).map(|fault| brief(&fault.message)),
    }
}

impl Fault {
    fn is(&self, kinds: &[&str]) -> bool {
        self.kind.as_deref().is_some_and(|kind| kinds.contains(&kind))
    }

    fn limited(&self) -> bool {
        self.is(&["RATE_LIMITED"]) || self.message.contains("submitted too quickly")
    }

    fn away(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        self.is(&["SERVICE_UNAVAILABLE", "INTERNAL", "INTERNAL_ERROR"])
            || (self.kind.is_none()
                && ["something went wrong", "timedout", "timed out", "timeout"]
                    .iter()
                    .any(|words| message.contains(words)))
    }

    /// Whether it speaks of this part of the request.
    pub(super) fn of(&self, part: &str) -> bool {
        self.path.as_ref().and_then(|path| path.first()).is_some_and(|first| first == part)
    }

    pub(super) fn missing(&self) -> bool {
        self.is(&["NOT_FOUND"])
    }

    pub(super) fn failure(&self, call: &Call<'_>, needed: Option<&str>) -> Failure {
        let said = brief(&self.message);
        if self.limited() || self.away() {
            return away(call, &said);
        }
        if self.is(&["FORBIDDEN", "INSUFFICIENT_SCOPES"]) || self.message.contains("not accessible by") {
            return forbidden(call, &said, needed);
        }
        if self.missing() {
            return Failure::new(Reason::NotFound, format!("github: {}: {said}", call.name))
                .on(call.resource())
                .action("look whether it is there and the bot may see it");
        }
        let refused = self.is(&["UNPROCESSABLE", "VALIDATION", "BAD_USER_INPUT"]);
        let reason = if refused { Reason::InvalidArgument } else { Reason::Internal };
        Failure::new(reason, format!("github: {}: {said}", call.name)).on(call.resource())
    }
}

impl Reply {
    pub(super) fn faults(&self) -> &[Fault] {
        self.errors.as_deref().unwrap_or_default()
    }
}

/// A request in GraphQL.
#[derive(Debug, Clone, Copy)]
pub(super) struct Document<'a> {
    /// For logs, spans and messages.
    pub(super) name: &'static str,
    pub(super) text: &'a str,
    /// What it needs of the App's permissions.
    pub(super) needs: &'static str,
}

impl GitHubClient {
    /// Reads. A fault anywhere is a failure: half of what was asked for could mislead.
    pub(super) async fn query(
        &self,
        meter: &Meter,
        repository: &Repository,
        document: Document<'_>,
        variables: Value,
    ) -> Result<Value, Failure> {
        let body = json!({"query": document.text, "variables": variables});
        let call = Call::graphql(document.name, About::Repository(repository), true, body);
        let answer = self.transport.send(meter, &call).await?;
        let reply: Reply = json(&call, &accepted(&call, answer)?)?;
        if let Some(fault) = reply.faults().first() {
            return Err(fault.failure(&call, Some(document.needs)));
        }
        if reply.data.is_null() {
            return Err(unexpected(&call, &"neither data nor errors"));
        }
        Ok(reply.data)
    }

    /// Changes things: what became of each is for the caller to read.
    pub(super) async fn mutate(
        &self,
        meter: &Meter,
        repository: &Repository,
        name: &'static str,
        text: &str,
        variables: Value,
    ) -> Result<Reply, Failure> {
        let body = json!({"query": text, "variables": variables});
        let call = Call::graphql(name, About::Repository(repository), false, body);
        let answer = self.transport.send(meter, &call).await?;
        let reply: Reply = json(&call, &accepted(&call, answer)?)?;
        // A fault of no part is a fault of all.
        match reply.faults().iter().find(|fault| fault.path.as_ref().is_none_or(Vec::is_empty)) {
            Some(fault) => Err(fault.failure(&call, None)),
            None => Ok(reply),
        }
    }
}
