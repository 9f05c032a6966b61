//! As whom a request is sent.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use http::{HeaderValue, Method, StatusCode};
use kfops_core::{Failure, Reason};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::{
    call::{About, Call, encode},
    failure::{accepted, json, said},
    token::{App, Minted, bearer},
    transport::Transport,
};
use crate::{ports::Meter, settings::GitHubSettings};

/// Tokens of installations begin so, wherever they come from. Only installations may write check runs.
const INSTALLATION_TOKEN: &str = "ghs_";

/// As whom.
pub(super) enum Identity {
    /// As nobody: public repositories can be read.
    Nobody,
    /// With a token.
    Token { header: HeaderValue, installation: bool },
    /// As an App.
    App(Box<App>),
}

/// What a request shows.
pub(super) struct Grant {
    pub(super) header: Option<HeaderValue>,
    /// Whose limits apply.
    pub(super) lane: String,
    /// What can be renewed: the installation's token, and which of them it was.
    minted: Option<(u64, u64)>,
}

#[derive(Deserialize)]
struct Installation {
    id: u64,
}

#[derive(Deserialize)]
struct Token {
    token: SecretString,
    expires_at: String,
}

impl Identity {
    pub(super) fn new(settings: &GitHubSettings) -> Result<Self, Failure> {
        match (&settings.app, &settings.token) {
            (Some(_), Some(_)) => {
                Err(Failure::new(Reason::InvalidArgument, "both github.app and github.token are set")
                    .on("github")
                    .action("keep one of them"))
            }
            (Some(app), None) => Ok(Self::App(Box::new(App::new(app)?))),
            (None, Some(token)) => {
                let installation = token.expose_secret().starts_with(INSTALLATION_TOKEN);
                Ok(Self::Token { header: bearer(token.expose_secret())?, installation })
            }
            (None, None) => Ok(Self::Nobody),
        }
    }

    /// Whether GitHub lets it write check runs.
    pub(super) const fn writes_checks(&self) -> bool {
        match self {
            Self::Nobody => false,
            Self::Token { installation, .. } => *installation,
            Self::App(_) => true,
        }
    }
}

impl Transport {
    pub(super) async fn grant(&self, about: About<'_>) -> Result<Grant, Failure> {
        let app = match &self.identity {
            Identity::Nobody => return Ok(Grant { header: None, lane: String::new(), minted: None }),
            Identity::Token { header, .. } => {
                return Ok(Grant { header: Some(header.clone()), lane: String::new(), minted: None });
            }
            Identity::App(app) => app,
        };
        let account = match about {
            About::App => {
                let header = Some(app.statement(self.github_now())?);
                return Ok(Grant { header, lane: "app".to_owned(), minted: None });
            }
            About::Repository(repository) => &repository.owner,
            About::Organization(organization) => organization,
        };
        let mut again = true;
        loop {
            let installation = match app.installation(account) {
                Some(installation) => installation,
                None => self.find_installation(app, account, about).await?,
            };
            match self.token(app, installation).await {
                // It was taken away and put back, and has another id now.
                Err(failure) if again && failure.reason == Reason::NotFound && app.uninstalled(account) => {
                    again = false
                }
                Err(failure) => return Err(failure),
                Ok(minted) => {
                    return Ok(Grant {
                        header: Some(minted.header),
                        lane: installation.to_string(),
                        minted: Some((installation, minted.generation)),
                    });
                }
            }
        }
    }

    /// The token was refused: whether another may do.
    pub(super) async fn renew(&self, grant: &Grant, about: About<'_>) -> bool {
        let Identity::App(app) = &self.identity else { return false };
        if let Some((installation, generation)) = grant.minted {
            let slot = app.slot(installation);
            let mut minted = slot.lock().await;
            // Someone else may have renewed it meanwhile.
            if minted.as_ref().is_some_and(|minted| minted.generation == generation) {
                *minted = None;
            }
            return true;
        }
        // A statement is made anew each time, now with the clock that GitHub's refusal has shown.
        matches!(about, About::App)
    }

    async fn find_installation(&self, app: &App, account: &str, about: About<'_>) -> Result<u64, Failure> {
        let path = match about {
            About::Repository(repository) => format!("/repos/{repository}/installation"),
            _ => format!("/orgs/{}/installation", encode(account)),
        };
        let call = Call::get("GET installation", path, About::App);
        let answer = Box::pin(self.send(&Meter::default(), &call)).await?;
        if answer.status == StatusCode::NOT_FOUND {
            let of = match about {
                About::Repository(repository) => repository.to_string(),
                _ => account.to_owned(),
            };
            return Err(Failure::new(
                Reason::NotFound,
                format!("github: the bot's GitHub App is not installed on {of}"),
            )
            .on(of)
            .action("install the App there, from its page on GitHub"));
        }
        let found: Installation = json(&call, &accepted(&call, answer)?)?;
        app.installed(account, found.id);
        Ok(found.id)
    }

    /// The installation's token; minted anew by one caller, for whom the others wait.
    async fn token(&self, app: &App, installation: u64) -> Result<Minted, Failure> {
        let slot = app.slot(installation);
        let mut kept = slot.lock().await;
        if let Some(minted) = kept.as_ref().filter(|minted| minted.fresh(self.github_now())) {
            return Ok(minted.clone());
        }
        match self.mint(installation).await {
            Ok(minted) => {
                *kept = Some(minted.clone());
                Ok(minted)
            }
            Err(failure) => match kept.as_ref().filter(|old| failure.retryable && old.valid(self.github_now())) {
                Some(old) => Ok(old.clone()),
                None => Err(failure),
            },
        }
    }

    async fn mint(&self, installation: u64) -> Result<Minted, Failure> {
        static GENERATION: AtomicU64 = AtomicU64::new(0);
        let path = format!("/app/installations/{installation}/access_tokens");
        // Minting twice does no harm: a token that is lost expires.
        let call =
            Call { reads: true, ..Call::change("POST access_tokens", Method::POST, path, About::App, json!({})) };
        let answer = Box::pin(self.send(&Meter::default(), &call)).await?;
        match answer.status {
            StatusCode::FORBIDDEN if said(&answer.body).to_ascii_lowercase().contains("suspended") => {
                return Err(Failure::new(
                    Reason::PermissionDenied,
                    format!("github: installation {installation} of the bot's GitHub App is suspended"),
                )
                .on(format!("installations/{installation}"))
                .action("unsuspend it in the account's settings, under GitHub Apps"));
            }
            StatusCode::NOT_FOUND => {
                return Err(Failure::new(
                    Reason::NotFound,
                    format!("github: the bot's GitHub App has no installation {installation}"),
                )
                .on(format!("installations/{installation}"))
                .action("install the App, or correct github.app.installation_id"));
            }
            StatusCode::UNAUTHORIZED => {
                return Err(Failure::new(
                    Reason::Unauthenticated,
                    format!("github: the bot's GitHub App is not believed: {}", said(&answer.body)),
                )
                .on("github.app")
                .action("look whether the private key belongs to the App of that id"));
            }
            _ => {}
        }
        let token: Token = json(&call, &accepted(&call, answer)?)?;
        let expires = humantime::parse_rfc3339_weak(&token.expires_at)
            .map_err(|error| super::failure::unexpected(&call, &error))?;
        Ok(Minted {
            header: bearer(token.token.expose_secret())?,
            expires,
            generation: GENERATION.fetch_add(1, Ordering::Relaxed),
        })
    }
}

/// Shared by all clones of the client.
pub(super) type Shared = Arc<Transport>;
