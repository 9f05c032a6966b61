//! REST, transcoded from the protos while running: `google.api.http` says how (AIP-127), proto3's JSON mapping says
//! what. There is no second, hand-written API.

mod openapi;
mod query;
mod request;
mod route;
mod schema;
mod stream;
mod template;

use std::time::Duration;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header, request::Parts};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kfops_core::{Failure, Reason};
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::Value;

use self::route::{Lookup, Match, Routes};
use crate::{
    access::Actor,
    answer,
    api::{Call, EXPOSED, Face, Upstream},
    settings::ApiSettings,
};

/// Answers REST requests.
pub(crate) struct Rest {
    routes: Routes,
    openapi: Bytes,
    upstream: Upstream,
    settings: ApiSettings,
}

impl Rest {
    pub(crate) fn new(pool: &DescriptorPool, upstream: Upstream, settings: &ApiSettings) -> Result<Self, Failure> {
        let routes = Routes::of(pool, EXPOSED)?;
        let openapi = Bytes::from(openapi::document(&routes).to_string());
        Ok(Self { routes, openapi, upstream, settings: settings.clone() })
    }

    /// Answers one request of a known caller.
    pub(crate) async fn answer(&self, request: Request<Body>, actor: Actor) -> Response {
        let (parts, body) = request.into_parts();
        if parts.uri.path() == "/openapi.json" && parts.method == Method::GET {
            return answer::with_type(StatusCode::OK, "application/json", Body::from(self.openapi.clone()));
        }
        let found = match self.routes.find(&parts.method, parts.uri.path()) {
            Lookup::Found(found) => found,
            Lookup::OtherMethods(allowed) => return method_not_allowed(&parts, &allowed),
            Lookup::Nothing => return answer::failure(&no_such_path(&parts)),
        };
        match self.call(found, &parts, body, actor).await {
            Ok(response) => response,
            Err(Refused(Some(status), failure)) => answer::failure_as(status, &failure),
            Err(Refused(None, failure)) => answer::failure(&failure),
        }
    }

    async fn call(&self, found: Match<'_>, parts: &Parts, body: Body, actor: Actor) -> Result<Response, Refused> {
        let body = self.body(&parts.headers, body).await?;
        let route = found.route;
        let message = request::message(&found, parts.uri.query().unwrap_or(""), body)?;
        let streaming = route.method.is_server_streaming();
        let limit = if streaming { self.settings.stream_timeout } else { self.settings.call_timeout }.get();
        let call = Call {
            method: route.method.clone(),
            message,
            actor,
            deadline: asked_timeout(&parts.headers).map_or(limit, |asked| asked.min(limit)),
            face: Face::Http(route.verb.clone(), route.template.to_string()),
        };
        if streaming {
            let format = stream::Format::of(&parts.headers);
            let messages = self.upstream.stream(call).await?;
            return Ok(stream::answer(messages, format).await?);
        }
        let response = self.upstream.unary(call).await?;
        Ok(answer::json(StatusCode::OK, &json_of(&response)?))
    }

    /// The body as JSON; None when there is none.
    async fn body(&self, headers: &HeaderMap, body: Body) -> Result<Option<Value>, Refused> {
        let whole = Limited::new(body, self.settings.max_body).collect();
        let bytes = match tokio::time::timeout(self.settings.call_timeout.get(), whole).await {
            Ok(Ok(whole)) => whole.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let message = format!("the body is larger than {} bytes", self.settings.max_body);
                return Err(invalid_as(StatusCode::PAYLOAD_TOO_LARGE, message));
            }
            Ok(Err(error)) => return Err(invalid_as(StatusCode::BAD_REQUEST, format!("the body broke off: {error}"))),
            Err(_) => return Err(invalid_as(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time".into())),
        };
        if bytes.is_empty() {
            return Ok(None);
        }
        // Also keeps out what a browser's form could send.
        let media_type =
            headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).and_then(|v| v.split(';').next());
        if !media_type.is_some_and(|m| m.trim().eq_ignore_ascii_case("application/json")) {
            let message = "the content type is not application/json".to_owned();
            return Err(invalid_as(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| invalid_as(StatusCode::BAD_REQUEST, format!("the body is not JSON: {error}")))
    }
}

/// A failure, and an HTTP status where it is not the usual one.
struct Refused(Option<StatusCode>, Failure);

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self(None, failure)
    }
}

fn invalid_as(status: StatusCode, message: String) -> Refused {
    Refused(Some(status), Failure::new(Reason::InvalidArgument, message))
}

/// A message in proto3's JSON mapping.
fn json_of(message: &DynamicMessage) -> Result<Value, Failure> {
    serde_json::to_value(message).map_err(Failure::internal)
}

/// `X-Server-Timeout`: seconds that the client is going to wait.
fn asked_timeout(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get("x-server-timeout")?.to_str().ok()?.parse::<f64>().ok()?;
    Duration::try_from_secs_f64(seconds).ok().filter(|d| !d.is_zero())
}

fn no_such_path(parts: &Parts) -> Failure {
    let path: String = parts.uri.path().chars().take(200).collect();
    Failure::new(Reason::NotFound, format!("there is nothing at {path}")).action("see /openapi.json for what there is")
}

fn method_not_allowed(parts: &Parts, allowed: &[Method]) -> Response {
    let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    let names = names.join(", ");
    let failure = Failure::new(Reason::InvalidArgument, format!("{} is not possible here, only {names}", parts.method))
        .action("see /openapi.json for what there is");
    let mut response = answer::failure_as(StatusCode::METHOD_NOT_ALLOWED, &failure);
    if let Ok(value) = HeaderValue::from_str(&names) {
        response.headers_mut().insert(header::ALLOW, value);
    }
    response
}
