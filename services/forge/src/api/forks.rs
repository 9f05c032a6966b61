//! Repositories as things: forked, renamed, archived, deleted.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::Value;

use super::context::Context;
use super::input::Input;
use super::respond::Answer;
use crate::error::{Error, Result};
use crate::model::{Repository, Role};
use crate::{json, store};

type Repo = Path<(String, String)>;

/// A repository with what it is a fork of, as GitHub shows it alone.
pub(super) async fn whole(ctx: &Context, repository: &Repository) -> Result<Value> {
    let role = match &ctx.caller.user {
        Some(user) => Some(ctx.hub.role(repository, user).await?),
        None => None,
    };
    let mut value = json::repository(&ctx.hub.urls, repository, role);
    value["network_count"] = 0.into();
    value["subscribers_count"] = 0.into();
    if let Some(parent) = repository.parent_id
        && let Ok(parent) = ctx.hub.repository_by_id(parent).await
    {
        let parent = json::repository(&ctx.hub.urls, &parent, None);
        value["source"] = parent.clone();
        value["parent"] = parent;
    }
    Ok(value)
}

#[derive(Deserialize)]
pub(super) struct NewFork {
    organization: Option<String>,
    name: Option<String>,
}

pub(super) async fn create(
    ctx: Context,
    Path((owner, repo)): Repo,
    Input(new): Input<NewFork>,
) -> Result<Response, Answer> {
    let parent = ctx.hub.repository(&owner, &repo).await?;
    let user = ctx.user()?;
    let into = match new.organization {
        Some(login) => ctx.hub.user(&login).await?.filter(|user| user.organization).ok_or(Error::NotFound)?,
        None => user,
    };
    let fork = ctx.hub.fork(&parent, &into, new.name.as_deref().unwrap_or(&parent.name)).await?;
    Ok((StatusCode::ACCEPTED, Json(whole(&ctx, &fork).await?)).into_response())
}

pub(super) async fn list(ctx: Context, Path((owner, repo)): Repo) -> Result<Response, Answer> {
    let id = ctx.repository(&owner, &repo).await?.id;
    let all = ctx.hub.store.read(move |db| store::forks(db, id)).await?;
    Ok(ctx.list(ctx.slice(all), |fork| json::repository(&ctx.hub.urls, fork, None)))
}

#[derive(Deserialize)]
pub(super) struct Edit {
    name: Option<String>,
    description: Option<String>,
    archived: Option<bool>,
    default_branch: Option<String>,
}

pub(super) async fn edit(
    ctx: Context,
    Path((owner, repo)): Repo,
    Input(edit): Input<Edit>,
) -> Result<Json<Value>, Answer> {
    let mut repository = ctx.hub.repository(&owner, &repo).await?;
    ctx.require(&repository, Role::Admin).await?;
    let id = repository.id;
    if let Some(branch) = edit.default_branch {
        let bare = ctx.hub.bare(&repository)?;
        if !bare.branches().await?.contains_key(&branch) {
            return Err(Error::custom("Repository", "default_branch", "The branch was not found.").into());
        }
        bare.set_head(&branch).await?;
        ctx.hub.store.write(move |db| store::set_default_branch(db, id, &branch)).await?;
    }
    if let Some(text) = edit.description {
        ctx.hub.store.write(move |db| store::set_description(db, id, Some(&text))).await?;
    }
    if let Some(archived) = edit.archived {
        ctx.hub.store.write(move |db| store::set_archived(db, id, archived)).await?;
    }
    if let Some(name) = edit.name.filter(|name| *name != repository.name) {
        repository = ctx.hub.rename(&repository, &name).await?;
    }
    let repository = ctx.hub.repository_by_id(repository.id).await?;
    Ok(Json(whole(&ctx, &repository).await?))
}

pub(super) async fn remove(ctx: Context, Path((owner, repo)): Repo) -> Result<StatusCode, Answer> {
    let repository = ctx.hub.repository(&owner, &repo).await?;
    ctx.require(&repository, Role::Admin).await?;
    ctx.hub.delete_repository(&repository).await?;
    Ok(StatusCode::NO_CONTENT)
}
