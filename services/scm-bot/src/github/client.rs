//! One request to GitHub: sent, counted, repeated where that is safe, and its answer or failure.

use std::{sync::Arc, time::Duration};

use backon::{ExponentialBuilder, Retryable as _};
use bytes::Bytes;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use kfops_core::{Clock, Failure, Reason};
use octocrab::{Octocrab, service::middleware::retry::RetryConfig};
use secrecy::ExposeSecret as _;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    ports::{GitHubCall, Meter},
    settings::{GitHubSettings, MergeMethod},
};

/// GitHub documents smaller answers; this stops whoever is not GitHub.
const LARGEST_ANSWER: usize = 16 << 20;

/// A client of GitHub's REST API. Cheap to clone.
#[derive(Clone)]
pub struct GitHubClient {
    crab: Octocrab,
    clock: Arc<dyn Clock>,
    timeout: Duration,
    pub(super) bot_login: String,
    pub(super) merge_method: MergeMethod,
}

/// An answer that is no failure of the transport.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// A request without its body.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    /// For logs, spans and messages.
    pub(super) name: &'static str,
    pub(super) method: &'static Method,
    pub(super) path: &'a str,
    /// Most bytes of the answer.
    pub(super) largest: usize,
}

impl<'a> Call<'a> {
    pub(super) const fn new(name: &'static str, method: &'static Method, path: &'a str) -> Self {
        Self { name, method, path, largest: LARGEST_ANSWER }
    }
}

impl GitHubClient {
    /// A client with the settings' address and token. Connects when it is first used.
    pub fn new(settings: &GitHubSettings, timeout: Duration, clock: Arc<dyn Clock>) -> Result<Self, Failure> {
        let wrong = |error: &dyn std::fmt::Display| {
            Failure::new(
                Reason::InvalidArgument,
                format!("github.api_url `{}` cannot be used: {error}", settings.api_url),
            )
            .on("github.api_url")
        };
        let mut builder = Octocrab::builder()
            .base_uri(settings.api_url.as_str())
            .map_err(|error| wrong(&error))?
            .set_connect_timeout(Some(Duration::from_secs(5)))
            .set_read_timeout(Some(timeout))
            // Every request is counted, so that every repetition is ours.
            .add_retry_config(RetryConfig::None);
        if let Some(token) = &settings.token {
            builder = builder.personal_token(token.expose_secret().to_owned());
        }
        Ok(Self {
            crab: builder.build().map_err(|error| wrong(&error))?,
            clock,
            timeout,
            bot_login: settings.bot_login.clone(),
            merge_method: settings.merge_method,
        })
    }

    /// Reads; repeated when GitHub is away.
    pub(super) async fn get(&self, meter: &Meter, call: Call<'_>) -> Result<Answer, Failure> {
        let backoff =
            ExponentialBuilder::default().with_min_delay(Duration::from_millis(300)).with_max_times(2).with_jitter();
        (|| self.send::<()>(meter, call, None)).retry(backoff).when(|failure: &Failure| failure.retryable).await
    }

    /// Reads JSON; None for 404.
    pub(super) async fn get_json<T: DeserializeOwned>(
        &self,
        meter: &Meter,
        call: Call<'_>,
    ) -> Result<Option<T>, Failure> {
        let answer = self.get(meter, call).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        json(call, &accepted(call, answer)?).map(Some)
    }

    /// Changes something, once.
    pub(super) async fn change<B: Serialize + Sync>(
        &self,
        meter: &Meter,
        call: Call<'_>,
        body: &B,
    ) -> Result<Answer, Failure> {
        self.send(meter, call, Some(body)).await
    }

    /// Changes something, once, without a body.
    pub(super) async fn bare(&self, meter: &Meter, call: Call<'_>) -> Result<Answer, Failure> {
        self.send::<()>(meter, call, None).await
    }

    async fn send<B: Serialize + Sync>(
        &self,
        meter: &Meter,
        call: Call<'_>,
        body: Option<&B>,
    ) -> Result<Answer, Failure> {
        let start = self.clock.now();
        let sent = tokio::time::timeout(self.timeout, self.exchange(call, body)).await;
        let result = match sent {
            Ok(result) => result,
            Err(_) => Err(away(call, &format!("no answer within {} s", self.timeout.as_secs()))),
        };
        let status = result.as_ref().map_or(0, |answer| answer.status.as_u16());
        meter.note(GitHubCall { name: call.name.to_owned(), status, start, end: self.clock.now() });
        tracing::debug!(call = call.name, status, "github");
        let answer = result?;
        if answer.status.is_server_error() {
            return Err(away(call, &format!("answered {}", answer.status)));
        }
        Ok(answer)
    }

    async fn exchange<B: Serialize + Sync>(&self, call: Call<'_>, body: Option<&B>) -> Result<Answer, Failure> {
        let builder = http::Request::builder().method(call.method.clone()).uri(call.path);
        let request = self.crab.build_request(builder, body).map_err(Failure::internal)?;
        let response = self.crab.execute(request).await.map_err(|error| away(call, &reach(&error)))?;
        let (parts, body) = response.into_parts();
        let limited = parts.headers.contains_key("retry-after")
            || parts.headers.get("x-ratelimit-remaining").is_some_and(|left| left.as_bytes() == b"0");
        if matches!(parts.status, StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS) && limited {
            return Err(away(call, "the rate limit is reached"));
        }
        let body = Limited::new(body, call.largest).collect().await.map_err(|error| away(call, &error.to_string()))?;
        Ok(Answer { status: parts.status, body: body.to_bytes() })
    }
}

/// What octocrab says, with the causes that it keeps to itself.
fn reach(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        text = error.to_string();
        next = error.source();
    }
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}

fn away(call: Call<'_>, cause: &str) -> Failure {
    Failure::new(Reason::GithubUnavailable, format!("github: {}: {cause}", call.name))
        .on(call.path)
        .action("it is tried again by itself; if it lasts, look at GitHub's status page")
}

/// The body of an answer that says yes; what GitHub says otherwise.
pub(super) fn accepted(call: Call<'_>, answer: Answer) -> Result<Bytes, Failure> {
    if answer.status.is_success() {
        return Ok(answer.body);
    }
    let (reason, action) = match answer.status {
        StatusCode::UNAUTHORIZED => (Reason::Unauthenticated, "give the bot a valid token (github.token)"),
        StatusCode::FORBIDDEN => (
            Reason::PermissionDenied,
            "give the bot's token write access to contents, pull requests, issues and checks",
        ),
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            (Reason::NotFound, "look whether the repository is there and the bot may see it")
        }
        StatusCode::UNPROCESSABLE_ENTITY => (Reason::InvalidArgument, ""),
        _ => (Reason::Internal, ""),
    };
    let message = format!("github: {}: {} {}", call.name, answer.status.as_u16(), said(&answer.body));
    Err(Failure::new(reason, message.trim_end()).on(call.path).action(action))
}

/// The `message` of an error.
pub(super) fn said(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Said {
        message: String,
    }
    serde_json::from_slice::<Said>(body).map(|said| said.message.chars().take(300).collect()).unwrap_or_default()
}

pub(super) fn json<T: DeserializeOwned>(call: Call<'_>, body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        Failure::new(Reason::Internal, format!("github: {}: unexpected answer: {error}", call.name)).on(call.path)
    })
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
