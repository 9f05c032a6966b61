//! Sends requests: signed, within GitHub's limits, repeated where that is safe, each of them counted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, header};
use kfops_core::{Clock, Failure};
use reqwest::Url;
use time::{OffsetDateTime, format_description::well_known::Rfc2822};
use tokio::time::Instant;

use super::{
    address::Address,
    call::{Answer, Call},
    etags::Etags,
    failure::{absent, away},
    graphql,
    identity::{Grant, Identity},
    lane::Lanes,
    limit,
    tempo::Tempo,
};
use crate::ports::{GitHubCall, Meter};

/// Most redirects of a request.
const HOPS: usize = 5;
/// The version of the API that is spoken.
const VERSION: &str = "2022-11-28";

/// The way to GitHub.
pub(super) struct Transport {
    pub(super) http: reqwest::Client,
    pub(super) address: Address,
    pub(super) identity: Identity,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tempo: Tempo,
    pub(super) lanes: Lanes,
    pub(super) etags: Etags,
    /// By how many seconds GitHub's clock is ahead of ours.
    pub(super) ahead: AtomicI64,
}

/// No answer, or none that counts.
struct Lost {
    failure: Failure,
    /// It certainly had no effect.
    harmless: bool,
}

impl Transport {
    /// GitHub's time.
    pub(super) fn github_now(&self) -> SystemTime {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let by = Duration::from_secs(ahead.unsigned_abs());
        let now = self.clock.now();
        if ahead >= 0 { now.checked_add(by) } else { now.checked_sub(by) }.unwrap_or(now)
    }

    /// The answer, whatever it says, unless GitHub is away or limits us for longer than we wait.
    pub(super) async fn send(&self, meter: &Meter, call: &Call<'_>) -> Result<Answer, Failure> {
        let patience = Instant::now() + self.tempo.patience;
        let end = patience + self.tempo.timeout;
        let backoff = ExponentialBuilder::default()
            .with_min_delay(self.tempo.backoff)
            .with_max_times(self.tempo.tries.saturating_sub(1));
        let mut pauses = backoff.build();
        let mut renewed = false;
        loop {
            let grant = self.grant(call.about).await?;
            let lane = self.lanes.of(&grant.lane, &self.tempo);
            let turn = lane.enter(call, &self.tempo, patience).await.map_err(|wait| self.limited(call, wait))?;
            let sent = self.follow(meter, call, &grant).await;
            drop(turn);
            let lost = match sent {
                Err(lost) => lost,
                Ok(answer) => {
                    let now = self.github_now();
                    let refused = limit::refused(answer.status, &answer.headers, &answer.body, now);
                    let verdict = graphql::verdict(call, &answer);
                    if let Some(limit) = refused.or_else(|| verdict.limit(&answer, now)) {
                        let wait = lane.shut(call.budget(), limit, &self.tempo);
                        tracing::warn!(call = call.name, ?limit, seconds = wait.as_secs(), "github limits us");
                        if !verdict.partial() {
                            continue;
                        }
                    } else if let Some(limit) = limit::spent(&answer.headers, now) {
                        lane.shut(call.budget(), limit, &self.tempo);
                    } else if answer.status.is_success() {
                        lane.fine();
                    }
                    if answer.status == StatusCode::UNAUTHORIZED && !renewed && self.renew(&grant, call.about).await {
                        renewed = true;
                        continue;
                    }
                    match verdict.away() {
                        _ if answer.status.is_server_error() => {
                            Lost { failure: away(call, &format!("answered {}", answer.status)), harmless: false }
                        }
                        Some(said) => Lost { failure: away(call, &said), harmless: false },
                        None => return Ok(answer),
                    }
                }
            };
            if !call.reads && !lost.harmless {
                return Err(lost.failure);
            }
            // Full jitter: those who failed together do not come back together.
            let Some(pause) = pauses.next().map(|pause| pause.mul_f64(rand::random())) else {
                return Err(lost.failure);
            };
            if Instant::now() + pause >= end {
                return Err(lost.failure);
            }
            tracing::debug!(call = call.name, failure = %lost.failure, "once more");
            tokio::time::sleep(pause).await;
        }
    }

    fn limited(&self, call: &Call<'_>, wait: Duration) -> Failure {
        // Whole seconds, rounded up.
        let until = self.clock.now() + wait + Duration::from_secs(1);
        let until = humantime::format_rfc3339_seconds(until);
        let cause = format!("github's rate limit is reached, and not before {until} is it asked again");
        away(call, &cause).action("it goes on by itself then")
    }

    /// Sends, and goes where GitHub says the repository is now.
    async fn follow(&self, meter: &Meter, call: &Call<'_>, grant: &Grant) -> Result<Answer, Lost> {
        let lost = |failure| Lost { failure, harmless: true };
        let mut url = match &*call.path {
            "" => self.address.graphql.clone(),
            path => self.address.rest(path).map_err(lost)?,
        };
        let mut method = call.method.clone();
        for _ in 0..=HOPS {
            let answer = self.once(meter, call, grant, &method, &url).await?;
            if !matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let next = answer.headers.get(header::LOCATION).and_then(|next| url.join(next.to_str().ok()?).ok());
            let Some(next) = next else { return Ok(answer) };
            let same = matches!(answer.status.as_u16(), 307 | 308);
            let safe = next.scheme() == "https" || next.scheme() == url.scheme();
            // A write that is turned into a read would seem to have succeeded.
            if !(safe && (same || call.reads)) {
                return Err(lost(absent(&format!("{}: it moved to another place", call.resource()))));
            }
            if !same && method != Method::GET {
                method = Method::GET;
            }
            url = next;
        }
        Err(lost(away(call, "redirected too often")))
    }

    async fn once(
        &self,
        meter: &Meter,
        call: &Call<'_>,
        grant: &Grant,
        method: &Method,
        url: &Url,
    ) -> Result<Answer, Lost> {
        let mut request = self.http.request(method.clone(), url.clone()).header(header::ACCEPT, call.accept);
        let home = self.address.same_origin(url);
        if home {
            request = request.header("x-github-api-version", VERSION);
            if let Some(header) = &grant.header {
                request = request.header(header::AUTHORIZATION, header.clone());
            }
        }
        if let Some(body) = call.body.as_ref().filter(|_| method != Method::GET) {
            request = request.json(body);
        }
        let key = (call.keep && home).then(|| format!("{} {} {url}", grant.lane, call.accept));
        let kept = key.as_ref().and_then(|key| self.etags.get(key));
        if let Some((tag, _)) = &kept {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        let limit = self.tempo.timeout * if call.long { 20 } else { 1 };
        let start = self.clock.now();
        let sent = tokio::time::timeout(limit, exchange(call, request)).await;
        let mut result = sent.unwrap_or_else(|_| {
            Err(Lost { failure: away(call, &format!("no answer within {} s", limit.as_secs_f32())), harmless: false })
        });
        let status = result.as_ref().map_or(0, |answer| answer.status.as_u16());
        meter.note(GitHubCall { name: call.name.to_owned(), status, start, end: self.clock.now() });
        tracing::debug!(call = call.name, status, "github");
        if let Ok(answer) = &mut result {
            if home {
                self.set_clock(&answer.headers);
            }
            match (answer.status, kept, &key) {
                (StatusCode::NOT_MODIFIED, Some((_, body)), _) => {
                    answer.status = StatusCode::OK;
                    answer.body = body;
                }
                (StatusCode::OK, _, Some(key)) => {
                    if let Some(tag) = answer.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()) {
                        self.etags.put(key, tag, &answer.body);
                    }
                }
                _ => {}
            }
        }
        result
    }

    /// GitHub's clock is the one that counts for what it signs and checks.
    fn set_clock(&self, headers: &HeaderMap) {
        let date = headers.get(header::DATE).and_then(|date| date.to_str().ok());
        let Some(date) = date.and_then(|date| OffsetDateTime::parse(date, &Rfc2822).ok()) else { return };
        let ahead = date.unix_timestamp() - OffsetDateTime::from(self.clock.now()).unix_timestamp();
        self.ahead.store(ahead, Ordering::Relaxed);
    }
}

async fn exchange(call: &Call<'_>, request: reqwest::RequestBuilder) -> Result<Answer, Lost> {
    let lost = |error: reqwest::Error| {
        let harmless = error.is_connect() || error.is_builder();
        Lost { failure: away(call, &reach(&error.without_url())), harmless }
    };
    let mut response = request.send().await.map_err(lost)?;
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(lost)? {
        if body.len() + chunk.len() > call.largest {
            let failure = Failure::new(
                kfops_core::Reason::ResourceExhausted,
                format!("github: {}: the answer is larger than {} MiB", call.name, call.largest >> 20),
            );
            return Err(Lost { failure: Failure { retryable: false, ..failure.on(call.resource()) }, harmless: false });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, headers, body: Bytes::from(body) })
}

/// The innermost cause: what is around it repeats itself.
fn reach(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        text = error.to_string();
        next = error.source();
    }
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}
