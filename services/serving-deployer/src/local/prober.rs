//! Requests to models over HTTP.

use async_trait::async_trait;
use futures::StreamExt as _;
use kfops_core::Failure;

use crate::ports::{Answer, Probe, Prober};

/// Most that is read of an answer.
const MAX_ANSWER: usize = 1 << 20;

/// An HTTP client.
pub(super) struct Http(reqwest::Client);

impl Http {
    pub(super) fn new() -> Result<Self, Failure> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(Failure::internal)?;
        Ok(Self(client))
    }
}

#[async_trait]
impl Prober for Http {
    async fn send(&self, probe: Probe) -> Result<Answer, String> {
        let mut request = match probe.body {
            Some(body) => self.0.post(&probe.url).json(&body),
            None => self.0.get(&probe.url),
        };
        request = request.header("kfops-revision", &probe.revision).timeout(probe.timeout);
        if let Some(context) = probe.context {
            request = request.header("traceparent", context.to_string());
        }
        let response = request.send().await.map_err(|error| text(&error))?;
        let status = response.status().as_u16();
        let header = response.headers().get("kfops-revision").and_then(|v| v.to_str().ok());
        let revision = header.map(str::to_owned);
        let mut body = Vec::new();
        let mut stream = response.bytes_stream();
        while let Some(chunk) = stream.next().await {
            body.extend_from_slice(&chunk.map_err(|error| text(&error))?);
            if body.len() > MAX_ANSWER {
                return Err(format!("the answer is longer than {MAX_ANSWER} bytes"));
            }
        }
        Ok(Answer { status, revision, body })
    }
}

fn text(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".into();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
