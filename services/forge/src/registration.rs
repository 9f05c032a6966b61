//! How a program registers and installs Apps.

use secrecy::{ExposeSecret as _, SecretString};

use kfops_core::Failure;

use crate::error::{Error, Result};
use crate::forge::Forge;
use crate::model::{Role, User};
use crate::store::{self, NewApp};
use crate::{jwt, names};

/// A GitHub App to be registered.
#[derive(Debug, Clone, Copy)]
pub struct AppRegistration<'a> {
    /// The App's id, the `iss` of its JWTs.
    pub id: u64,
    /// Its bot is `<slug>[bot]`.
    pub slug: &'a str,
    /// Login of who it belongs to; made if absent.
    pub owner: &'a str,
    /// RSA public key, PEM.
    pub public_key: &'a str,
    /// Of the App's webhook.
    pub webhook_secret: Option<&'a SecretString>,
    /// What its installations may do: `("checks", "write")`.
    pub permissions: &'a [(&'a str, &'a str)],
    /// What its webhook is sent.
    pub events: &'a [&'a str],
}

impl Forge {
    /// Registers an App, or changes the one of that id.
    ///
    /// # Errors
    /// When the slug or the key is none.
    pub async fn register_app(&self, app: AppRegistration<'_>) -> Result<(), Failure> {
        let work = async {
            let login = format!("{}[bot]", app.slug);
            if !names::is_login(&login) || !names::is_owner(app.owner) {
                return Err(Error::invalid(format!("{:?} of {:?} is no slug", app.slug, app.owner)));
            }
            jwt::check_key(app.public_key)?;
            let id = i64::try_from(app.id).map_err(|_| Error::invalid("the App's id is too large"))?;
            let owner = self.account(app.owner).await?;
            let new = NewApp {
                id,
                slug: app.slug.to_owned(),
                public_key: app.public_key.to_owned(),
                webhook_secret: app.webhook_secret.map(|secret| secret.expose_secret().to_owned()),
                owner,
                permissions: app.permissions.iter().map(|&(name, level)| (name.into(), level.into())).collect(),
                events: app.events.iter().map(|&event| event.to_owned()).collect(),
            };
            self.hub().store.write(move |db| store::put_app(db, &new)).await
        };
        work.await.map(drop).map_err(|error| error.into_failure(&format!("apps/{}", app.slug)))
    }

    /// Installs an App for repositories of an owner; without names for all of them. Tells the installation's id.
    ///
    /// # Errors
    /// When the App or a repository is missing.
    pub async fn install_app(&self, app: u64, owner: &str, repositories: &[&str]) -> Result<u64, Failure> {
        let work = async {
            let id = i64::try_from(app).map_err(|_| Error::NotFound)?;
            let account = self.account(owner).await?;
            let mut selected = Vec::with_capacity(repositories.len());
            for name in repositories {
                selected.push(self.hub().repository(owner, name).await?.id);
            }
            let selected = (!repositories.is_empty()).then_some(selected);
            let install = move |db: &rusqlite::Transaction<'_>| {
                store::app(db, id)?.ok_or(Error::NotFound)?;
                store::install(db, id, &account, selected.as_deref())
            };
            self.hub().store.write(install).await
        };
        let id = work.await.map_err(|error| error.into_failure(&format!("apps/{app}/installations/{owner}")))?;
        Ok(u64::try_from(id).unwrap_or_default())
    }

    async fn account(&self, login: &str) -> Result<User> {
        if let Some(user) = self.hub().user(login).await? {
            return Ok(user);
        }
        let login = login.to_owned();
        self.hub().store.write(move |db| store::create_user(db, &login, Role::None)).await
    }
}
