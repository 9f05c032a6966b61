//! Who calls, and by what right: a user's token, an installation's token, or an App's own JWT.

use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::model::{Repository, Role, User};
use crate::store::{self, App, Grant};
use crate::{clock, jwt};

/// The caller of a request; nobody by default.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller {
    /// The user, or the bot of an App.
    pub(crate) user: Option<User>,
    /// What the token of an installation allows.
    pub(crate) grant: Option<Grant>,
    /// The App that signed a JWT. It acts on nothing but its installations.
    pub(crate) app: Option<App>,
}

impl Caller {
    /// The caller, who must have shown a token.
    pub(crate) fn user(&self) -> Result<User> {
        self.user.clone().ok_or(Error::AuthenticationRequired)
    }

    /// The App that signed the request.
    pub(crate) fn app(&self) -> Result<&App> {
        self.app.as_ref().ok_or_else(|| Error::Unauthorized(jwt::UNREADABLE.to_owned()))
    }

    /// Whether the repository exists for the caller.
    pub(crate) fn sees(&self, repository: &Repository) -> bool {
        self.grant.as_ref().is_none_or(|grant| grant.covers(repository))
    }

    /// The caller, if it has at least that role in the repository.
    pub(crate) async fn require(&self, hub: &Hub, repository: &Repository, role: Role) -> Result<User> {
        let user = self.user()?;
        if hub.role(repository, &user).await? >= role {
            return Ok(user);
        }
        Err(Error::Forbidden(match (user.is_bot(), role) {
            (true, _) => "Resource not accessible by integration".to_owned(),
            (_, Role::Admin) => "Must have admin rights to Repository.".to_owned(),
            (_, Role::Write | Role::Maintain) => "Must have push access to Repository.".to_owned(),
            _ => "Must have triage rights to Repository.".to_owned(),
        }))
    }

    /// The caller, if it may write check runs: only Apps do.
    pub(crate) async fn require_app(&self, hub: &Hub, repository: &Repository) -> Result<User> {
        let user = self.require(hub, repository, Role::Write).await?;
        if self.grant.is_some() || (user.is_bot() && hub.settings.bot_tokens_are_apps) {
            return Ok(user);
        }
        Err(Error::Forbidden("You must authenticate via a GitHub App.".to_owned()))
    }
}

impl Hub {
    /// Who a token stands for.
    pub(crate) async fn identify(&self, token: String) -> Result<Caller> {
        if jwt::looks_like_one(&token) {
            return Ok(Caller { app: Some(self.app_of_jwt(&token).await?), ..Caller::default() });
        }
        self.store
            .read(move |db| {
                if let Some(user) = store::user_by_token(db, &token)? {
                    return Ok(Caller { user: Some(user), ..Caller::default() });
                }
                let (user, grant) = store::grant_of(db, &token, clock::unix())?.ok_or(Error::BadCredentials)?;
                Ok(Caller { user: Some(user), grant: Some(grant), app: None })
            })
            .await
    }
}
