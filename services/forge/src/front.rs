//! In front of every route: the forge's clock, faults, the exchange log, and repositories that have moved.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderName, HeaderValue, LOCATION};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::error::{Error, Result};
use crate::exchange::{self, Asked};
use crate::faults::{Fault, Peer, Seen, Status};
use crate::hub::Hub;

/// Largest body that is read whole for the log or a rule.
const WHOLE: usize = 64 << 20;
/// How long the first half of an answer has to get out before the connection is closed.
const HALF_TIME: Duration = Duration::from_millis(30);
/// First segments of the API's paths.
const API: &[&str] =
    &["app", "applications", "graphql", "installation", "orgs", "rate_limit", "repos", "repositories", "user", "users"];

/// What the door needs.
#[derive(Debug, Clone)]
pub(crate) struct Front {
    pub(crate) hub: Arc<Hub>,
    pub(crate) stop: CancellationToken,
}

/// The path as on api.github.com.
fn plain(path: &str) -> &str {
    let rest = path.strip_prefix("/api/v3").or_else(|| path.strip_prefix("/api").filter(|rest| *rest == "/graphql"));
    rest.filter(|rest| rest.starts_with('/')).unwrap_or(path)
}

fn is_api(path: &str) -> bool {
    path.split('/').nth(1).is_some_and(|first| API.contains(&first))
}

pub(crate) async fn pass(
    State(front): State<Front>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    request.extensions_mut().insert(ConnectInfo(peer.addr));
    if request.uri().path().starts_with("/_forge/") {
        return next.run(request).await;
    }
    front.by_id(&mut request).await;
    let shift = front.hub.faults.shift();
    let mut response = clock::shifted(shift, front.answer(&peer, request, next)).await;
    if shift != 0
        && let Ok(date) = HeaderValue::from_str(&clock::shifted(shift, async { clock::http_date() }).await)
    {
        response.headers_mut().insert(DATE, date);
    }
    response
}

impl Front {
    async fn answer(&self, peer: &Peer, request: Request, next: Next) -> Response {
        let (hub, method) = (&self.hub, request.method().clone());
        let path = plain(request.uri().path()).to_owned();
        let (api, graphql) = (is_api(&path), path == "/graphql");
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        let logged = hub.exchange.is_some() && api;
        let (request, sent) = match logged || (graphql && hub.faults.reads_graphql()) {
            false => (request, Bytes::new()),
            true => match whole(request).await {
                Ok(both) => both,
                Err(error) => return crate::api::Answer::from(error).into_response(),
            },
        };
        let asked = logged.then(|| asked(&path, &request, &sent));
        let parsed: Option<Value> = if graphql { serde_json::from_slice(&sent).ok() } else { None };
        let fault = hub.faults.of_request(&Seen { method: method.as_str(), path: &path, graphql: parsed.as_ref() });
        if let Some(fault) = &fault {
            tracing::debug!(fault = fault.name(), %method, path, "fault");
        }
        let answer = self.misbehave(fault.as_ref(), request, next).await;
        let answer = match answer {
            Some(answer) => self.moved(&method, &path, &query, answer).await,
            None => {
                self.note(asked.as_ref(), None, fault.as_ref());
                peer.hang_up();
                return Response::new(Body::empty());
            }
        };
        if asked.is_none() && fault != Some(Fault::Half) {
            return answer;
        }
        let (parts, body) = answer.into_parts();
        let Ok(bytes) = to_bytes(body, WHOLE).await else {
            return crate::api::Answer::from(Error::internal("an answer is too large")).into_response();
        };
        self.note(asked.as_ref(), Some((parts.status, &parts.headers, &bytes)), fault.as_ref());
        let whole = Response::from_parts(parts, Body::from(bytes.clone()));
        if fault == Some(Fault::Half) { half(whole, &bytes) } else { whole }
    }

    /// Does what was asked for or not, as the fault says. None closes the connection.
    async fn misbehave(&self, fault: Option<&Fault>, request: Request, next: Next) -> Option<Response> {
        // A client that hangs up ends its handler: what counts as done here must be done all the same.
        let done = async |request: Request, next: Next| {
            let work = clock::shifted(self.hub.faults.shift(), next.run(request));
            tokio::spawn(work)
                .await
                .unwrap_or_else(|error| crate::api::Answer::from(Error::internal(error)).into_response())
        };
        match fault {
            None => Some(next.run(request).await),
            Some(Fault::Refuse) => None,
            Some(Fault::Hang { effect, limit_millis }) => {
                if *effect {
                    done(request, next).await;
                }
                self.wait(*limit_millis).await;
                None
            }
            Some(Fault::Slow { millis }) => {
                self.wait(*millis).await;
                Some(done(request, next).await)
            }
            Some(Fault::Half) => Some(done(request, next).await),
            Some(Fault::Lost) => {
                done(request, next).await;
                Some(wrong(&Status { status: 502, ..Status::default() }))
            }
            Some(Fault::Status(status)) => {
                if status.effect {
                    done(request, next).await;
                }
                Some(wrong(status))
            }
        }
    }

    async fn wait(&self, millis: u64) {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(millis)) => {}
            () = self.stop.cancelled() => {}
        }
    }

    fn note(&self, asked: Option<&Asked>, answer: Option<(StatusCode, &HeaderMap, &Bytes)>, fault: Option<&Fault>) {
        let (Some(log), Some(asked)) = (&self.hub.exchange, asked) else { return };
        let answer = answer.map(|(status, headers, bytes)| {
            (status.as_u16(), exchange::headers(headers), exchange::body(kind(headers), bytes))
        });
        log.request(asked, answer, fault.map(Fault::name));
    }

    /// Sends those who ask for the old name of a repository to the new one.
    async fn moved(&self, method: &Method, path: &str, query: &str, answer: Response) -> Response {
        if answer.status() != StatusCode::NOT_FOUND {
            return answer;
        }
        match self.new_place(method, path, query).await {
            Ok(Some(response)) => response,
            _ => answer,
        }
    }

    /// Leads `/repositories/{id}/...` to where the repository is now.
    async fn by_id(&self, request: &mut Request) {
        let path = request.uri().path();
        let (start, rest) = path.split_at(path.len() - plain(path).len());
        let Some(rest) = rest.strip_prefix("/repositories/") else { return };
        let (id, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let Ok(id) = id.parse() else { return };
        let Ok(repository) = self.hub.repository_by_id(id).await else { return };
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        let target = format!("{start}/repos/{}{rest}{query}", repository.full_name());
        if let Ok(uri) = target.parse() {
            *request.uri_mut() = uri;
        }
    }

    async fn new_place(&self, method: &Method, path: &str, query: &str) -> Result<Option<Response>> {
        let mut segments = path.trim_start_matches('/').splitn(4, '/');
        let api = path.starts_with("/repos/");
        if api {
            segments.next();
        }
        let (Some(owner), Some(name)) = (segments.next(), segments.next()) else { return Ok(None) };
        let rest = path
            .splitn(if api { 5 } else { 4 }, '/')
            .nth(if api { 4 } else { 3 })
            .map(|rest| format!("/{rest}"))
            .unwrap_or_default();
        let git = name.strip_suffix(".git");
        let Some(repository) = self.hub.moved_to(owner, git.unwrap_or(name)).await? else { return Ok(None) };
        let status = if matches!(*method, Method::GET | Method::HEAD) {
            StatusCode::MOVED_PERMANENTLY
        } else {
            StatusCode::TEMPORARY_REDIRECT
        };
        let base = self.hub.urls.base();
        if !api {
            let end = if git.is_some() { ".git" } else { "" };
            let location = format!("{base}/{}{end}{rest}{query}", repository.full_name());
            return Ok(Some((status, [(LOCATION, location)]).into_response()));
        }
        let location = format!("{base}/repositories/{}{rest}{query}", repository.id);
        let message = if status == StatusCode::MOVED_PERMANENTLY { "Moved Permanently" } else { "Temporary Redirect" };
        let body = json!({ "message": message, "url": location, "documentation_url": "https://docs.github.com/rest" });
        Ok(Some((status, [(LOCATION, location)], Json(body)).into_response()))
    }
}

async fn whole(request: Request) -> Result<(Request, Bytes)> {
    let (parts, body) = request.into_parts();
    let too_large = |_| Error::TooLarge("The request body is too large or was cut off".to_owned());
    let bytes = to_bytes(body, WHOLE).await.map_err(too_large)?;
    Ok((Request::from_parts(parts, Body::from(bytes.clone())), bytes))
}

fn kind(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok())
}

fn asked(path: &str, request: &Request, sent: &Bytes) -> Asked {
    Asked {
        method: request.method().to_string(),
        path: path.to_owned(),
        query: request.uri().query().map(str::to_owned),
        headers: exchange::headers(request.headers()),
        body: exchange::body(kind(request.headers()), sent),
    }
}

/// GitHub's body for a status that a rule asks for.
fn wrong(fault: &Status) -> Response {
    let status = StatusCode::from_u16(fault.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let text = match fault.status {
        429 => "Too Many Requests",
        500..600 => "Server Error",
        _ => status.canonical_reason().unwrap_or("Error"),
    };
    let body = json!({
        "message": fault.message.as_deref().unwrap_or(text),
        "documentation_url": "https://docs.github.com/rest",
        "status": status.as_str(),
    });
    let mut response = (status, Json(body)).into_response();
    let limited = matches!(fault.status, 403 | 429);
    let usual: &[(&str, &str)] = match limited {
        true => &[("x-ratelimit-limit", "5000"), ("x-ratelimit-remaining", "4000"), ("x-ratelimit-resource", "core")],
        false => &[],
    };
    for (name, value) in usual {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    for (name, value) in &fault.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The head of an answer, half of its body, and then nothing.
fn half(answer: Response, bytes: &Bytes) -> Response {
    let (mut parts, _) = answer.into_parts();
    // Without it a client would take the half for the whole.
    parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len().max(1)));
    let first = bytes.slice(..bytes.len() / 2);
    let stream = futures::stream::unfold(Some(first), |state| async move {
        let first = state?;
        if !first.is_empty() {
            return Some((Ok(first), Some(Bytes::new())));
        }
        tokio::time::sleep(HALF_TIME).await;
        Some((Err(std::io::Error::from(std::io::ErrorKind::ConnectionAborted)), None))
    });
    Response::from_parts(parts, Body::from_stream(stream))
}
