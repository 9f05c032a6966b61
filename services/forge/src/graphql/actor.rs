//! Users, the bots of Apps, and Apps.

use async_graphql::{Context, ID, Interface, Object, Result};

use super::{Session, Uri};
use crate::json::{encode, node};
use crate::model;

/// Who does something.
#[derive(Debug, Clone, Interface)]
#[graphql(field(name = "login", ty = "String"), field(name = "url", ty = "Result<Uri>"))]
pub(super) enum Actor {
    User(User),
    Bot(Bot),
}

impl From<&model::User> for Actor {
    fn from(user: &model::User) -> Self {
        if user.is_bot() { Self::Bot(Bot(user.clone())) } else { Self::User(User(user.clone())) }
    }
}

/// A person.
#[derive(Debug, Clone)]
pub(super) struct User(pub(super) model::User);

/// The bot of an App. Its login has no `[bot]` here.
#[derive(Debug, Clone)]
pub(super) struct Bot(pub(super) model::User);

fn page(ctx: &Context<'_>, login: &str) -> Result<Uri> {
    Ok(Uri(format!("{}/{}", Session::of(ctx)?.hub.urls.base(), encode(login))))
}

#[Object]
impl User {
    pub(super) async fn id(&self) -> ID {
        node(if self.0.is_bot() { "BOT" } else { "U" }, self.0.id).into()
    }

    async fn database_id(&self) -> Option<i32> {
        i32::try_from(self.0.id).ok()
    }

    pub(super) async fn login(&self) -> String {
        self.0.login.clone()
    }

    pub(super) async fn url(&self, ctx: &Context<'_>) -> Result<Uri> {
        page(ctx, &self.0.login)
    }
}

#[Object]
impl Bot {
    pub(super) async fn id(&self) -> ID {
        node("BOT", self.0.id).into()
    }

    async fn database_id(&self) -> Option<i32> {
        i32::try_from(self.0.id).ok()
    }

    pub(super) async fn login(&self) -> String {
        self.0.login.trim_end_matches("[bot]").to_owned()
    }

    pub(super) async fn url(&self, ctx: &Context<'_>) -> Result<Uri> {
        page(ctx, &format!("apps/{}", self.0.login.trim_end_matches("[bot]")))
    }
}

/// An App.
#[derive(Debug, Clone)]
pub(super) struct App {
    pub(super) id: i64,
    pub(super) slug: String,
}

#[Object]
impl App {
    pub(super) async fn id(&self) -> ID {
        node("A", self.id).into()
    }

    async fn database_id(&self) -> Option<i32> {
        i32::try_from(self.id).ok()
    }

    async fn name(&self) -> String {
        self.slug.clone()
    }

    async fn slug(&self) -> String {
        self.slug.clone()
    }
}
