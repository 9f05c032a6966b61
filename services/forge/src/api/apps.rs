//! What an App asks for itself, with its JWT, and what its installations see.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::context::{Context, id, linked};
use super::input::Input;
use super::respond::Answer;
use crate::error::{Error, Result};
use crate::model::Repository;
use crate::store::{self, App, Installation, Permissions};
use crate::{clock, json};

/// Random parts of a token: with its prefix it is as long as GitHub's are now.
const TOKEN_PARTS: usize = 16;

async fn installations_of(ctx: &Context, app: &App) -> Result<Vec<Installation>> {
    let id = app.id;
    ctx.hub.store.read(move |db| store::installations(db, id)).await
}

pub(super) async fn me(ctx: Context) -> Result<Json<Value>, Answer> {
    let app = ctx.caller.app()?;
    let count = installations_of(&ctx, app).await?.len();
    Ok(Json(json::app(&ctx.hub.urls, app, count)))
}

pub(super) async fn list(ctx: Context) -> Result<Response, Answer> {
    let app = ctx.caller.app()?;
    let all = installations_of(&ctx, app).await?;
    Ok(ctx.list(ctx.slice(all), |one| json::installation(&ctx.hub.urls, app, one)))
}

async fn find(ctx: &Context, text: &str) -> Result<Installation> {
    let (app, wanted) = (ctx.caller.app()?, id(text)?);
    let found = ctx.hub.store.read(move |db| store::installation(db, wanted)).await?;
    found.filter(|found| found.app == app.id).ok_or(Error::NotFound)
}

pub(super) async fn get_one(ctx: Context, Path(number): Path<String>) -> Result<Json<Value>, Answer> {
    let found = find(&ctx, &number).await?;
    Ok(Json(json::installation(&ctx.hub.urls, ctx.caller.app()?, &found)))
}

pub(super) async fn of_repository(
    ctx: Context,
    Path((owner, repo)): Path<(String, String)>,
) -> Result<Json<Value>, Answer> {
    let app = ctx.caller.app()?;
    let repository = ctx.repository(&owner, &repo).await?;
    let all = installations_of(&ctx, app).await?;
    let found = all.iter().find(|one| one.covers(&repository)).ok_or(Error::NotFound)?;
    Ok(Json(json::installation(&ctx.hub.urls, app, found)))
}

pub(super) async fn of_account(ctx: Context, Path(login): Path<String>) -> Result<Json<Value>, Answer> {
    let app = ctx.caller.app()?;
    let all = installations_of(&ctx, app).await?;
    let found = all.iter().find(|one| one.account.login.eq_ignore_ascii_case(&login)).ok_or(Error::NotFound)?;
    Ok(Json(json::installation(&ctx.hub.urls, app, found)))
}

#[derive(Deserialize)]
pub(super) struct Order {
    repositories: Option<Vec<String>>,
    repository_ids: Option<Vec<i64>>,
    permissions: Option<Permissions>,
}

impl Order {
    /// The repositories that the token shall be limited to.
    fn limit(&self, all: Vec<Repository>) -> Result<Option<Vec<Repository>>> {
        let names = self.repositories.as_deref().unwrap_or_default();
        let ids = self.repository_ids.as_deref().unwrap_or_default();
        if names.is_empty() && ids.is_empty() {
            return Ok(None);
        }
        let known = |name: &String| all.iter().any(|one| one.name.eq_ignore_ascii_case(name));
        let numbered = |id: &i64| all.iter().any(|one| one.id == *id);
        if !names.iter().all(known) || !ids.iter().all(numbered) {
            return Err(Error::invalid(
                "There is at least one repository that does not exist or is not accessible to the parent installation.",
            ));
        }
        let wanted =
            |one: &Repository| ids.contains(&one.id) || names.iter().any(|name| name.eq_ignore_ascii_case(&one.name));
        Ok(Some(all.into_iter().filter(wanted).collect()))
    }

    /// The permissions that the token shall have.
    fn permissions(&self, granted: &Permissions) -> Result<Permissions> {
        let Some(wanted) = &self.permissions else { return Ok(granted.clone()) };
        let rank = |level: &str| ["read", "write", "admin"].iter().position(|one| *one == level);
        let fits = |(name, level): (&String, &String)| {
            let granted = granted.get(name).and_then(|level| rank(level));
            rank(level).is_some_and(|wanted| granted.is_some_and(|granted| granted >= wanted))
        };
        if !wanted.iter().all(fits) {
            return Err(Error::invalid("The permissions requested are not granted to this installation."));
        }
        Ok(wanted.clone())
    }
}

pub(super) async fn create_token(
    ctx: Context,
    Path(number): Path<String>,
    Input(order): Input<Order>,
) -> Result<Response, Answer> {
    let installation = find(&ctx, &number).await?;
    let permissions = order.permissions(&ctx.caller.app()?.permissions)?;
    let parts = (0..TOKEN_PARTS).map(|_| uuid::Uuid::new_v4().simple().to_string());
    let token = format!("ghs_{}", parts.collect::<String>());
    let now = clock::unix();
    let life = i64::try_from(ctx.hub.settings.installation_token_life.as_secs()).unwrap_or(i64::MAX);
    let expires = now.saturating_add(life);
    let (kept, held) = (token.clone(), permissions.clone());
    let limited = ctx
        .hub
        .store
        .write(move |db| {
            let limited = order.limit(store::installed(db, &installation)?)?;
            let only: Option<Vec<i64>> = limited.as_ref().map(|all| all.iter().map(|one| one.id).collect());
            store::put_installation_token(db, installation.id, &kept, only.as_deref(), &held, (now, expires))?;
            // An installation that is limited itself says so too.
            Ok(match (limited, &installation.selected) {
                (None, Some(_)) => Some(store::installed(db, &installation)?),
                (limited, _) => limited,
            })
        })
        .await?;
    let expires = clock::from_unix(expires);
    let body = json::installation_token(&ctx.hub.urls, &token, &expires, &permissions, limited.as_deref());
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// The repositories that the token of an installation sees.
pub(super) async fn repositories(ctx: Context) -> Result<Response, Answer> {
    let grant = ctx.caller.grant.clone().ok_or_else(|| {
        Error::Forbidden(
            "You must authenticate with an installation access token in order to list repositories for an \
             installation."
                .to_owned(),
        )
    })?;
    let all = ctx.hub.store.read(store::repositories).await?;
    let seen: Vec<Repository> = all.into_iter().filter(|one| grant.covers(one)).collect();
    let total = seen.len();
    let (page, links) = ctx.cut(ctx.slice(seen));
    let page: Vec<Value> = page.iter().map(|one| json::repository(&ctx.hub.urls, one, None)).collect();
    let body = json!({
        "total_count": total,
        "repository_selection": json::selection(&grant.installation),
        "repositories": page,
    });
    Ok(linked(Json(body).into_response(), &links))
}
