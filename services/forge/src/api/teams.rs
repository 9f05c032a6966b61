//! Teams of organizations: who is in one.

use axum::Json;
use axum::extract::Path;
use axum::response::Response;
use serde_json::{Value, json};

use super::context::Context;
use super::respond::Answer;
use crate::error::{Error, Result};
use crate::model::Team;
use crate::{json, store};

async fn find(ctx: &Context, organization: String, slug: String) -> Result<Team> {
    ctx.user()?;
    ctx.hub.store.read(move |db| store::team(db, &organization, &slug)).await?.ok_or(Error::NotFound)
}

/// The members of a team.
pub(super) async fn members(ctx: Context, Path((org, team)): Path<(String, String)>) -> Result<Response, Answer> {
    let team = find(&ctx, org, team).await?;
    let page = ctx.page();
    let found = ctx.hub.store.read(move |db| store::team_members(db, team.id, page)).await?;
    Ok(ctx.list(found, |user| json::user(&ctx.hub.urls, user)))
}

/// Whether a user is in a team: 404 if not.
pub(super) async fn membership(
    ctx: Context,
    Path((org, team, login)): Path<(String, String, String)>,
) -> Result<Json<Value>, Answer> {
    let found = find(&ctx, org.clone(), team).await?;
    let user = ctx.hub.user(&login).await?.ok_or(Error::NotFound)?;
    let id = found.id;
    let role = ctx.hub.store.read(move |db| store::team_role(db, id, user.id)).await?.ok_or(Error::NotFound)?;
    let url = format!("{}/orgs/{}/teams/{}/memberships/{}", ctx.hub.urls.base(), org, found.slug, json::encode(&login));
    Ok(Json(json!({ "url": url, "role": role, "state": "active" })))
}
