//! The REST API of the gateway.

use std::time::Duration;

use kfops_core::{Failure, Reason};
use reqwest::{Method, RequestBuilder, Response, Url};
use serde_json::Value as Json;

use crate::{exit::Exit, server::Server};

/// Tries of a request while nobody answers; each asks for the same.
const TRIES: u32 = 3;

/// Talks to a gateway.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    api: Url,
    token: Option<String>,
}

/// The lines of a stream, as they come.
pub(crate) struct Lines {
    response: Response,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn new(server: &Server) -> Result<Self, Exit> {
        let mut builder = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .user_agent(concat!("kfc/", env!("CARGO_PKG_VERSION")));
        if server.local {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| Exit::Failed(Failure::internal(error)))?;
        let token = std::env::var("KFOPS_TOKEN").ok().filter(|token| !token.is_empty());
        Ok(Self { http, api: server.api.clone(), token })
    }

    /// `GET` with parameters.
    pub(crate) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Json, Failure> {
        self.call(|| self.request(Method::GET, path).query(query)).await
    }

    /// `POST` with parameters and a body. Asked again with the same while nobody answers.
    pub(crate) async fn post(&self, path: &str, query: &[(&str, &str)], body: &Json) -> Result<Json, Failure> {
        self.call(|| self.request(Method::POST, path).query(query).json(body)).await
    }

    /// `GET` of a stream.
    pub(crate) async fn stream(&self, path: &str, query: &[(&str, &str)]) -> Result<Lines, Failure> {
        let response = self.request(Method::GET, path).query(query).send().await.map_err(|error| self.away(&error))?;
        if !response.status().is_success() {
            return Err(failure_of(response).await);
        }
        Ok(Lines { response, buffer: Vec::new() })
    }

    /// Anything of another base URL, e.g. the trace store.
    pub(crate) async fn get_from(&self, base: &Url, path: &str) -> Result<Json, Failure> {
        let url = base.join(path).map_err(Failure::internal)?;
        let sent = self.http.get(url).timeout(Duration::from_secs(30)).send().await;
        let response = sent.map_err(|error| nobody(base, &error))?;
        if !response.status().is_success() {
            return Err(failure_of(response).await);
        }
        response.json().await.map_err(|error| nobody(base, &error))
    }

    async fn call(&self, request: impl Fn() -> RequestBuilder) -> Result<Json, Failure> {
        let mut tries = 1;
        loop {
            let failure = match request().timeout(Duration::from_secs(30)).send().await {
                Ok(response) if response.status().is_success() => {
                    return response.json().await.map_err(|error| self.away(&error));
                }
                // An answer is an answer: the gateway has tried again by itself.
                Ok(response) => return Err(failure_of(response).await),
                Err(error) => self.away(&error),
            };
            if tries == TRIES {
                return Err(failure);
            }
            tokio::time::sleep(Duration::from_millis(200) * tries).await;
            tries += 1;
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        // Paths are of our making, so that they always join; a wrong one would be a 404.
        let url = self.api.join(path).unwrap_or_else(|_| self.api.clone());
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    fn away(&self, error: &reqwest::Error) -> Failure {
        nobody(&self.api, error)
    }
}

impl Lines {
    /// The next line; None at the end. A line with an `error` is that failure.
    pub(crate) async fn next(&mut self) -> Result<Option<Json>, Failure> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let json: Json = serde_json::from_slice(&line).map_err(Failure::internal)?;
                return if json["error"].is_object() { Err(failure_in(&json)) } else { Ok(Some(json)) };
            }
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                Ok(None) => return Ok(None),
                Err(error) => {
                    return Err(Failure::new(Reason::WorkerUnavailable, format!("the stream broke off: {error}")));
                }
            }
        }
    }
}

fn nobody(base: &Url, error: &reqwest::Error) -> Failure {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    Failure::new(Reason::WorkerUnavailable, format!("nobody answers at {base}: {cause}"))
        .action("start `kfc local up`, or say where the gateway is with --server or KFOPS_SERVER")
}

async fn failure_of(response: Response) -> Failure {
    let status = response.status();
    match response.json::<Json>().await {
        Ok(mut json) if json["error"]["message"].is_string() => {
            json["error"]["code"] = status.as_u16().into();
            failure_in(&json)
        }
        _ => {
            let reason = if status.is_server_error() { Reason::WorkerUnavailable } else { Reason::Internal };
            Failure::new(reason, format!("the server answered {status}"))
                .action("look whether --server is the address of a Kfops gateway")
        }
    }
}

/// Back from `google.rpc.Status` in JSON.
fn failure_in(json: &Json) -> Failure {
    let error = &json["error"];
    let mut details = error["details"].as_array().into_iter().flatten();
    let info = details.find(|detail| detail["reason"].is_string()).cloned().unwrap_or_default();
    let reason = Reason::ALL.iter().copied().find(|reason| info["reason"] == reason.as_str());
    let reason = reason.unwrap_or(if error["code"] == 404 { Reason::NotFound } else { Reason::Internal });
    let text = |key: &str| info["metadata"][key].as_str().unwrap_or_default();
    Failure::new(reason, error["message"].as_str().unwrap_or_default())
        .on(text("resource"))
        .action(text("action"))
        .log_tail(text("log_tail"))
}
