//! Requests to models through the ingress gateway, the way their users come.

use std::path::PathBuf;

use async_trait::async_trait;
use futures::StreamExt as _;
use kfops_core::{Failure, Reason};
use secrecy::{ExposeSecret as _, SecretString};

use super::{route::HEADER, settings::KserveSettings};
use crate::ports::{Answer, Probe, Prober};

/// Most that is read of an answer.
const MAX_ANSWER: usize = 1 << 20;
/// Longest token.
const MAX_TOKEN: usize = 16 << 10;

/// An HTTP client that shows its token at the gateway.
pub(super) struct Ingress {
    /// Each request over a connection of its own: each reaches another of the gateway's pods, as those of users do.
    http: reqwest::Client,
    public: String,
    ingress: Option<String>,
    token_file: Option<PathBuf>,
}

impl Ingress {
    pub(super) fn new(settings: &KserveSettings) -> Result<Self, Failure> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .build()
            .map_err(Failure::internal)?;
        let (public, ingress) = (settings.url.clone(), settings.ingress.clone());
        Ok(Self { http, public, ingress, token_file: settings.token_file.clone() })
    }

    async fn token(&self) -> Result<Option<SecretString>, String> {
        let Some(file) = &self.token_file else { return Ok(None) };
        let text = tokio::fs::read_to_string(file).await.map_err(|error| format!("{}: {error}", file.display()))?;
        if text.len() > MAX_TOKEN {
            return Err(format!("{} holds no token", file.display()));
        }
        Ok(Some(SecretString::from(text.trim().to_owned())))
    }

    /// Where a URL for people is asked from here, and the host that it has for people.
    fn address(&self, url: &str) -> Result<(reqwest::Url, Option<String>), String> {
        let parse = |url: &str| reqwest::Url::parse(url).map_err(|error| format!("{url}: {error}"));
        let wanted = parse(url)?;
        let Some(ingress) = &self.ingress else { return Ok((wanted, None)) };
        let mut address = parse(ingress)?;
        address.set_path(wanted.path());
        address.set_query(wanted.query());
        let host = wanted.host_str().unwrap_or_default();
        Ok((address, Some(wanted.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))))
    }

    pub(super) fn public(&self) -> &str {
        &self.public
    }
}

#[async_trait]
impl Prober for Ingress {
    async fn send(&self, probe: Probe) -> Result<Answer, String> {
        let (address, host) = self.address(&probe.url)?;
        let mut request = match probe.body {
            Some(body) => self.http.post(address).json(&body),
            None => self.http.get(address),
        };
        if let Some(host) = host {
            request = request.header(reqwest::header::HOST, host);
        }
        if let Some(token) = self.token().await? {
            request = request.bearer_auth(token.expose_secret());
        }
        if !probe.revision.is_empty() {
            request = request.header(HEADER, &probe.revision);
        }
        if let Some(context) = probe.context {
            request = request.header("traceparent", context.to_string());
        }
        let response = request.timeout(probe.timeout).send().await.map_err(|error| text(&error))?;
        let status = response.status().as_u16();
        let header = response.headers().get(HEADER).and_then(|value| value.to_str().ok());
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

/// What it means that the gateway answers a request of Kfops' own with this status.
pub(super) fn refusal(status: u16) -> Failure {
    let failure = |text: &str, action: &str| Failure::new(Reason::RouteFailed, text.to_owned()).action(action);
    match status {
        401 => {
            failure("the ingress gateway does not believe Kfops' token", "look at kserve.token_file and its audience")
        }
        403 => failure(
            "the ingress gateway refuses Kfops' own requests",
            "set kserve.token_file, and kserve.user where policies of the namespace admit its owner only",
        ),
        404 => failure(
            "the ingress gateway does not have the route",
            "look at kserve.gateway, kserve.host and kserve.url, and whether istiod takes the VirtualService",
        ),
        status => failure(&format!("the ingress gateway answers {status}"), "look at its log"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_to_the_ingress_under_the_public_host() {
        let settings = KserveSettings {
            url: "https://models.example.com:8443".into(),
            ingress: Some("http://127.0.0.1:31080".into()),
            ..KserveSettings::default()
        };
        let ingress = Ingress::new(&settings).unwrap();
        let (address, host) =
            ingress.address("https://models.example.com:8443/serving/a/b/v1/models/b:predict").unwrap();
        assert_eq!(address.as_str(), "http://127.0.0.1:31080/serving/a/b/v1/models/b:predict");
        assert_eq!(host.as_deref(), Some("models.example.com:8443"));
        assert_eq!(ingress.public(), "https://models.example.com:8443");
    }
}
