//! The client: what it is made of, and who it is.

use std::{
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use http::StatusCode;
use kfops_core::{Clock, Failure, Reason};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    address::Address,
    call::{About, Call},
    etags::Etags,
    failure::{accepted, json},
    identity::{Identity, Shared},
    known::Known,
    lane::Lanes,
    tempo::Tempo,
    transport::Transport,
};
use crate::{
    command::Repository,
    ports::Meter,
    settings::{GitHubSettings, MergeMethod},
};

/// A client of GitHub. Cheap to clone.
#[derive(Clone)]
pub struct GitHubClient {
    pub(super) transport: Shared,
    pub(super) known: Arc<Known>,
    pub(super) merge_method: MergeMethod,
    pub(super) bot_login: Option<String>,
    pub(super) repositories: Arc<[Repository]>,
}

#[derive(Deserialize)]
struct AppOf {
    slug: String,
}

#[derive(Deserialize)]
struct UserOf {
    login: String,
}

fn wrong(field: &str, what: String) -> Failure {
    Failure::new(Reason::InvalidArgument, what).on(format!("github.{field}"))
}

impl GitHubClient {
    /// A client with the settings' address and identity. Connects when it is first used.
    pub fn new(settings: &GitHubSettings, timeout: Duration, clock: Arc<dyn Clock>) -> Result<Self, Failure> {
        Self::with_tempo(settings, Tempo::new(timeout), clock)
    }

    /// A client with a patience of its own.
    pub fn with_tempo(settings: &GitHubSettings, tempo: Tempo, clock: Arc<dyn Clock>) -> Result<Self, Failure> {
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("kfops/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(tempo.timeout.min(Duration::from_secs(5)))
            .read_timeout(tempo.timeout)
            // Every request is counted, and credentials are shown to GitHub only.
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never());
        if let Some(path) = &settings.ca_file {
            let pem = std::fs::read(path)
                .map_err(|error| wrong("ca_file", format!("{} cannot be read: {error}", path.display())))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| {
                wrong("ca_file", format!("{} is no PEM file of certificates: {error}", path.display()))
            })?;
            http = http.tls_certs_merge(certificates);
        }
        let repositories = settings.repositories.iter().map(|text| Repository::parse(text));
        let transport = Transport {
            http: http.build().map_err(|error| Failure::internal(format!("no client for github: {error}")))?,
            address: Address::parse(&settings.api_url)?,
            identity: Identity::new(settings)?,
            clock,
            tempo,
            lanes: Lanes::default(),
            etags: Etags::default(),
            ahead: AtomicI64::new(0),
        };
        Ok(Self {
            transport: Arc::new(transport),
            known: Arc::default(),
            merge_method: settings.merge_method,
            bot_login: settings.bot_login.clone(),
            repositories: repositories.collect::<Result<_, _>>().map_err(|error| wrong("repositories", error))?,
        })
    }

    /// The login under which an App's or token's comments appear.
    pub(super) async fn ask_login(&self) -> Result<Option<String>, Failure> {
        if self.bot_login.is_some() {
            return Ok(self.bot_login.clone());
        }
        let meter = Meter::default();
        match &self.transport.identity {
            Identity::App(_) => {
                let app: Option<AppOf> = self.read(&meter, &Call::get("GET app", "/app", About::App)).await?;
                Ok(app.map(|app| format!("{}[bot]", app.slug)))
            }
            // An installation is no user.
            Identity::Token { installation: false, .. } => {
                let user: Option<UserOf> = self.read(&meter, &Call::get("GET user", "/user", About::App)).await?;
                Ok(user.map(|user| user.login))
            }
            Identity::Token { .. } | Identity::Nobody => Ok(None),
        }
    }

    /// Reads JSON; None for 404.
    pub(super) async fn read<T: DeserializeOwned>(&self, meter: &Meter, call: &Call<'_>) -> Result<Option<T>, Failure> {
        let answer = self.transport.send(meter, call).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        json(call, &accepted(call, answer)?).map(Some)
    }
}
