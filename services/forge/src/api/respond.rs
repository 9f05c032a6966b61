//! Answers: GitHub's error bodies, and the headers that every answer has.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_NONE_MATCH};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::context::credentials;
use crate::caller::Caller;
use crate::error::Error;
use crate::hub::{Hub, Rate, Resource};

/// Largest answer that gets an entity tag.
const TAGGED: usize = 64 << 20;

/// An error on its way out.
#[derive(Debug)]
pub(crate) struct Answer(Error);

impl From<Error> for Answer {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let (status, message, fields) = match self.0 {
            Error::BadCredentials => (StatusCode::UNAUTHORIZED, "Bad credentials".to_owned(), None),
            Error::AuthenticationRequired => (StatusCode::UNAUTHORIZED, "Requires authentication".to_owned(), None),
            Error::Unauthorized(text) => (StatusCode::UNAUTHORIZED, text, None),
            Error::Missing(text) => (StatusCode::NOT_FOUND, text, None),
            Error::Forbidden(text) => (StatusCode::FORBIDDEN, text, None),
            Error::RateLimited => (StatusCode::FORBIDDEN, "API rate limit exceeded for user".to_owned(), None),
            Error::NotFound => (StatusCode::NOT_FOUND, "Not Found".to_owned(), None),
            Error::BadRequest(text) => (StatusCode::BAD_REQUEST, text, None),
            Error::Invalid(text, fields) => (StatusCode::UNPROCESSABLE_ENTITY, text, Some(fields)),
            Error::Conflict(text) => (StatusCode::CONFLICT, text, None),
            Error::NotAllowed(text) => (StatusCode::METHOD_NOT_ALLOWED, text, None),
            Error::TooLarge(text) => (StatusCode::PAYLOAD_TOO_LARGE, text, None),
            Error::Internal(text) => {
                tracing::error!(error = text, "request failed");
                (StatusCode::INTERNAL_SERVER_ERROR, "Server Error".to_owned(), None)
            }
        };
        let mut body = json!({
            "message": message,
            "documentation_url": "https://docs.github.com/rest",
            "status": status.as_str(),
        });
        if let Some(fields) = fields.filter(|fields| !fields.is_empty()) {
            body["errors"] = json!(fields);
        }
        (status, Json(body)).into_response()
    }
}

/// No such route.
pub(crate) async fn not_found() -> Answer {
    Answer(Error::NotFound)
}

/// Around every REST request: who calls, whether it may still call, and the headers of the answer.
pub(super) async fn envelope(State(hub): State<Arc<Hub>>, mut request: Request, next: Next) -> Response {
    let request_id = uuid::Uuid::new_v4().simple().to_string().to_uppercase();
    let conditional = request.headers().get(IF_NONE_MATCH).cloned();
    let tagged = *request.method() == Method::GET;
    let free = request.uri().path().ends_with("/rate_limit");
    let graphql = request.uri().path().ends_with("/graphql");
    let resource = if graphql { Resource::Graphql } else { Resource::Core };
    let caller = match credentials(request.headers()) {
        None => Ok(Caller::default()),
        Some(token) => hub.identify(token).await,
    };
    let (response, user, mut rate) = match caller {
        Err(error) => (Answer(error).into_response(), None, hub.rate(None, resource)),
        Ok(caller) => {
            let user = caller.user.clone();
            let rate = if free { hub.rate(user.as_ref(), resource) } else { hub.count(user.as_ref(), resource) };
            request.extensions_mut().insert(caller);
            request.extensions_mut().insert(rate);
            // GraphQL says so in its own way.
            if rate.exceeded && !graphql {
                (Answer(Error::RateLimited).into_response(), user, rate)
            } else {
                (next.run(request).await, user, rate)
            }
        }
    };
    let mut response = if tagged { tag(response, conditional.as_ref()).await } else { response };
    if response.status() == StatusCode::NOT_MODIFIED && !free {
        rate = hub.uncount(user.as_ref(), resource);
    }
    decorate(response.headers_mut(), &request_id, rate, resource);
    response
}

fn decorate(headers: &mut HeaderMap, request_id: &str, rate: Rate, resource: Resource) {
    let mut set = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    set("x-github-request-id", request_id.to_owned());
    set("x-github-media-type", "github.v3; format=json".to_owned());
    set("x-github-api-version-selected", "2022-11-28".to_owned());
    set("x-content-type-options", "nosniff".to_owned());
    set("x-ratelimit-limit", rate.limit.to_string());
    set("x-ratelimit-used", rate.used.to_string());
    set("x-ratelimit-remaining", rate.limit.saturating_sub(rate.used).to_string());
    set("x-ratelimit-reset", rate.reset.to_string());
    set("x-ratelimit-resource", resource.as_str().to_owned());
}

/// Gives a good answer its entity tag, and sends nothing if the caller has it already.
async fn tag(response: Response, conditional: Option<&HeaderValue>) -> Response {
    let json =
        response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if response.status() != StatusCode::OK || !json {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, TAGGED).await else {
        return Answer(Error::Internal("an answer is too large".to_owned())).into_response();
    };
    let etag = format!("\"{}\"", hex::encode(Sha256::digest(&bytes)));
    if let Ok(value) = HeaderValue::from_str(&format!("W/{etag}")) {
        parts.headers.insert(ETAG, value);
    }
    let known = conditional.and_then(|value| value.to_str().ok()).is_some_and(|value| {
        value.split(',').map(str::trim).any(|one| one == "*" || one.trim_start_matches("W/") == etag)
    });
    if known {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(CONTENT_TYPE);
        parts.headers.remove(CONTENT_LENGTH);
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(bytes))
}
