//! What a program sets up in a forge beyond users and repositories: webhooks of apps, forks, names, organizations.

use kfops_core::Failure;
use secrecy::{ExposeSecret as _, SecretString};

use crate::error::{Error, Result};
use crate::forge::Forge;
use crate::model::Role;
use crate::store::NewHook;
use crate::{api, store};

impl Forge {
    /// Has the events of every repository sent to an app, as JSON with its `installation`, signed with the secret.
    /// An app has one such hook: called again, this moves it. No events means all of them.
    ///
    /// # Errors
    /// When there is no such app, or the address is none.
    pub async fn set_app_hook(
        &self,
        app: &str,
        url: &str,
        secret: &SecretString,
        events: &[&str],
    ) -> Result<u64, Failure> {
        let work = async {
            let app = self.hub.user(app).await?.filter(crate::model::User::is_bot).ok_or(Error::NotFound)?;
            if !api::is_target(url) {
                return Err(Error::invalid(format!("{url:?} is no http address")));
            }
            let events = if events.is_empty() { &["*"] } else { events };
            let hook = NewHook {
                url: url.to_owned(),
                secret: Some(secret.expose_secret().to_owned()),
                form: false,
                events: events.iter().map(|&event| event.to_owned()).collect(),
                active: true,
            };
            self.hub.change(move |db| store::put_app_hook(db, app.id, &hook)).await
        };
        let id = work.await.map_err(|error| error.into_failure(&format!("apps/{app}/hook")))?;
        Ok(u64::try_from(id).unwrap_or_default())
    }

    /// Removes a repository's webhook of that key, if there is one. What it still has to send, the webhook of the app
    /// sends.
    ///
    /// # Errors
    /// When the repository is missing, or the app has no webhook.
    pub async fn hand_over_hook(&self, owner: &str, name: &str, key: &str, app: &str) -> Result<(), Failure> {
        let work = async {
            let repository = self.hub.repository(owner, name).await?;
            let app = self.hub.user(app).await?.ok_or(Error::NotFound)?;
            let key = key.to_owned();
            self.hub.change(move |db| store::hand_over_hook(db, repository.id, &key, app.id)).await
        };
        work.await.map_err(|error| error.into_failure(&format!("repos/{owner}/{name}/hooks/{key}")))
    }

    /// Makes the fork of a repository under another owner, with all of its branches. An owner that is not known
    /// becomes a user.
    ///
    /// # Errors
    /// When the repository is missing, or the owner has it already.
    pub async fn fork(&self, owner: &str, name: &str, into: &str) -> Result<(), Failure> {
        let work = async {
            let parent = self.hub.repository(owner, name).await?;
            let into = self.ensure_user(into, None).await?;
            self.hub.fork(&parent, &into, &parent.name).await
        };
        work.await.map(drop).map_err(|error| error.into_failure(&format!("repos/{owner}/{name}/forks")))
    }

    /// Deletes a repository. Pull requests that came from it stay, without a head repository.
    ///
    /// # Errors
    /// When it is missing.
    pub async fn delete_repository(&self, owner: &str, name: &str) -> Result<(), Failure> {
        let work = async { self.hub.delete_repository(&self.hub.repository(owner, name).await?).await };
        work.await.map_err(|error| error.into_failure(&format!("repos/{owner}/{name}")))
    }

    /// Gives a repository another name; the old one leads to it.
    ///
    /// # Errors
    /// When it is missing, or the name is taken or none.
    pub async fn rename_repository(&self, owner: &str, name: &str, new: &str) -> Result<(), Failure> {
        let work = async { self.hub.rename(&self.hub.repository(owner, name).await?, new).await };
        work.await.map(drop).map_err(|error| error.into_failure(&format!("repos/{owner}/{name}")))
    }

    /// Makes a repository read-only, or not.
    ///
    /// # Errors
    /// When it is missing.
    pub async fn set_archived(&self, owner: &str, name: &str, archived: bool) -> Result<(), Failure> {
        let work = async {
            let id = self.hub.repository(owner, name).await?.id;
            self.hub.store.write(move |db| store::set_archived(db, id, archived)).await
        };
        work.await.map_err(|error| error.into_failure(&format!("repos/{owner}/{name}")))
    }

    /// Makes a team of an organization with these members; called again, it has these and no others. The
    /// organization and the users are made if absent.
    ///
    /// # Errors
    /// When a name is none.
    pub async fn set_team(&self, organization: &str, team: &str, members: &[&str]) -> Result<(), Failure> {
        let work = async {
            let organization = self.ensure_user(organization, None).await?;
            let mut users = Vec::new();
            for member in members {
                users.push(match self.hub.user(member).await? {
                    Some(user) => user,
                    None => self.ensure_user(member, Some(Role::None)).await?,
                });
            }
            let team = team.to_owned();
            self.hub.store.write(move |db| store::put_team(db, &organization, &team, &users)).await
        };
        work.await.map_err(|error| error.into_failure(&format!("orgs/{organization}/teams/{team}")))
    }
}
