//! Repositories, their branches, and who may do what in them.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::context::Context;
use super::input::Input;
use super::respond::Answer;
use crate::error::Error;
use crate::json;
use crate::model::Role;
use crate::{names, store};

type Repo = Path<(String, String)>;

pub(super) async fn get_one(ctx: Context, Path((owner, repo)): Repo) -> Result<Json<Value>, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    Ok(Json(super::forks::whole(&ctx, &repository).await?))
}

/// Every repository that the caller sees.
pub(super) async fn list(ctx: Context) -> Result<Response, Answer> {
    ctx.user()?;
    let mut all = ctx.hub.store.read(store::repositories).await?;
    all.retain(|repository| ctx.caller.sees(repository));
    Ok(ctx.list(ctx.slice(all), |repository| json::repository(&ctx.hub.urls, repository, None)))
}

#[derive(Deserialize)]
pub(super) struct NewRepository {
    name: String,
}

pub(super) async fn create(ctx: Context, Input(new): Input<NewRepository>) -> Result<Response, Answer> {
    let user = ctx.user()?;
    if !names::is_repository(&new.name) {
        return Err(Error::field("Repository", "name", "invalid").into());
    }
    if ctx.repository(&user.login, &new.name).await.is_ok() {
        return Err(Error::custom("Repository", "name", "name already exists on this account").into());
    }
    let repository = ctx.hub.create_repository(&user.login, &new.name, "main").await?;
    let body = json::repository(&ctx.hub.urls, &repository, Some(Role::Admin));
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

pub(super) async fn collaborators(ctx: Context, Path((owner, repo)): Repo) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    ctx.require(&repository, Role::Write).await?;
    let id = repository.id;
    let all = ctx
        .hub
        .store
        .read(move |db| {
            let users = store::users(db)?;
            users.into_iter().map(|user| Ok((store::role_in(db, id, &user)?, user))).collect::<Result<Vec<_>, Error>>()
        })
        .await?;
    let all: Vec<_> = all.into_iter().filter(|(role, _)| *role > Role::None).collect();
    Ok(ctx.list(ctx.slice(all), |(role, user)| json::collaborator(&ctx.hub.urls, user, *role)))
}

pub(super) async fn is_collaborator(
    ctx: Context,
    Path((owner, repo, login)): Path<(String, String, String)>,
) -> Result<StatusCode, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    ctx.require(&repository, Role::Write).await?;
    let user = ctx.hub.user(&login).await?.ok_or(Error::NotFound)?;
    match ctx.hub.role(&repository, &user).await? {
        Role::None => Err(Error::NotFound.into()),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

#[derive(Deserialize)]
pub(super) struct Grant {
    permission: Option<String>,
}

pub(super) async fn put_collaborator(
    ctx: Context,
    Path((owner, repo, login)): Path<(String, String, String)>,
    Input(grant): Input<Grant>,
) -> Result<StatusCode, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    ctx.require(&repository, Role::Admin).await?;
    let user = ctx.hub.user(&login).await?.ok_or(Error::NotFound)?;
    let role = grant.permission.as_deref().unwrap_or("push").parse();
    let role: Role = role.map_err(|_| Error::field("Repository", "permission", "invalid"))?;
    ctx.hub.store.write(move |db| store::put_collaborator(db, repository.id, &user, role)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn permission(
    ctx: Context,
    Path((owner, repo, login)): Path<(String, String, String)>,
) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    ctx.require(&repository, Role::Write).await?;
    let Some(user) = ctx.hub.user(&login).await? else {
        let body = json!({
            "message": format!("{login} is not a user"),
            "documentation_url": "https://docs.github.com/rest",
            "status": "404",
        });
        return Ok((StatusCode::NOT_FOUND, Json(body)).into_response());
    };
    let role = ctx.hub.role(&repository, &user).await?;
    Ok(Json(json!({
        "permission": role.legacy(),
        "role_name": role.as_str(),
        "user": json::collaborator(&ctx.hub.urls, &user, role),
    }))
    .into_response())
}

pub(super) async fn branches(ctx: Context, Path((owner, repo)): Repo) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let all: Vec<_> = ctx.hub.bare(&repository)?.branches().await?.into_iter().collect();
    let api = ctx.hub.urls.api(&repository);
    Ok(ctx.list(ctx.slice(all), |(name, sha)| {
        json!({ "name": name, "commit": { "sha": sha, "url": format!("{api}/commits/{sha}") }, "protected": false })
    }))
}

pub(super) async fn branch(
    ctx: Context,
    Path((owner, repo, name)): Path<(String, String, String)>,
) -> Result<Json<Value>, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let bare = ctx.hub.bare(&repository)?;
    let sha = bare.branches().await?.remove(&name).ok_or(Error::NotFound)?;
    let commit = json::commit(&ctx.hub.urls, &repository, &bare.commit(&sha).await?);
    let (api, html) = (ctx.hub.urls.api(&repository), ctx.hub.urls.html(&repository));
    let (url, encoded) = (format!("{api}/branches/{}", json::encode(&name)), json::encode(&name));
    Ok(Json(json!({
        "name": name,
        "commit": commit,
        "_links": { "self": url, "html": format!("{html}/tree/{encoded}") },
        "protected": false,
        "protection": { "enabled": false, "required_status_checks": { "enforcement_level": "off", "contexts": [], "checks": [] } },
        "protection_url": format!("{url}/protection"),
    })))
}
