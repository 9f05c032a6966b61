//! Exchanges as values: what a layer sees, and what the forge's log keeps, one JSON object a line.

use serde::Deserialize;
use serde_json::{Map, Value};

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Exchange {
    /// A request to the API and its answer.
    #[serde(alias = "request")]
    Http(HttpExchange),
    /// A webhook that was sent.
    Webhook(WebhookExchange),
}

/// A request to the API and its answer.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(from = "Logged")]
pub struct HttpExchange {
    /// e.g. `GET`.
    pub method: String,
    /// As sent, percent-encoded; with or without the prefix `/api/v3` (`/api/graphql` for GraphQL) of GitHub Enterprise.
    pub path: String,
    /// Without the question mark.
    pub query: String,
    /// Media types that the client takes; None when it is not known.
    pub accept: Option<String>,
    /// `Content-Type` of the request.
    pub request_content_type: Option<String>,
    /// `X-GitHub-Api-Version`.
    pub api_version: Option<String>,
    /// The body as JSON; null when there is none.
    pub request_body: Value,
    /// Status of the answer; 0 when there was none, or none of the server's own.
    pub status: u16,
    /// `Content-Type` of the answer; JSON is taken for granted where it is not known and there is a body.
    pub response_content_type: Option<String>,
    /// The body as JSON; null when there is none.
    pub response_body: Value,
}

/// A webhook that was sent.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct WebhookExchange {
    /// `X-GitHub-Event`.
    pub event: String,
    /// The body.
    #[serde(alias = "body")]
    pub payload: Value,
}

/// A request as the forge writes it down.
#[derive(Debug, Deserialize)]
struct Logged {
    method: String,
    path: String,
    query: Option<String>,
    #[serde(default)]
    headers: Map<String, Value>,
    #[serde(default)]
    body: Value,
    response: Option<LoggedAnswer>,
    /// The forge was told to misbehave: its answer is none of GitHub's.
    #[serde(default)]
    fault: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct LoggedAnswer {
    status: u16,
    #[serde(default)]
    headers: Map<String, Value>,
    #[serde(default)]
    body: Value,
}

impl From<Logged> for HttpExchange {
    fn from(logged: Logged) -> Self {
        let header = |headers: &Map<String, Value>, name: &str| Some(headers.get(name)?.as_str()?.to_owned());
        let answer = logged.response.filter(|_| logged.fault.is_none());
        Self {
            method: logged.method,
            path: logged.path,
            query: logged.query.map(|query| query.trim_start_matches('?').to_owned()).unwrap_or_default(),
            accept: header(&logged.headers, "accept"),
            request_content_type: header(&logged.headers, "content-type"),
            api_version: header(&logged.headers, "x-github-api-version"),
            request_body: logged.body,
            status: answer.as_ref().map_or(0, |answer| answer.status),
            response_content_type: answer.as_ref().and_then(|answer| header(&answer.headers, "content-type")),
            response_body: answer.map(|answer| answer.body).unwrap_or_default(),
        }
    }
}
