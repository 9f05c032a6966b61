//! Comments on issues and pull requests, and reactions to them.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::Value;

use super::context::{Context, id};
use super::input::Input;
use super::respond::Answer;
use crate::error::{Error, Result};
use crate::model::{Comment, Repository, Role};
use crate::{clock, json, store};

type One = Path<(String, String, String)>;

#[derive(Deserialize)]
pub(super) struct Body {
    body: Option<String>,
}

impl Body {
    fn text(self) -> Result<String> {
        self.body.ok_or_else(|| Error::field("IssueComment", "body", "missing_field"))
    }
}

async fn find(ctx: &Context, repository: &Repository, text: &str) -> Result<(Comment, bool)> {
    let (repository, comment) = (repository.id, id(text)?);
    ctx.hub
        .store
        .read(move |db| {
            let comment = store::comment(db, repository, comment)?.ok_or(Error::NotFound)?;
            let issue = store::issue(db, repository, comment.number)?.ok_or(Error::NotFound)?;
            Ok((comment, issue.pull.is_some()))
        })
        .await
}

pub(super) async fn list(ctx: Context, Path((owner, repo, number)): One) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let issue = ctx.hub.issue(&repository, id(&number)?).await?;
    let since = ctx.param("since").and_then(clock::parse);
    let (page, id) = (ctx.page(), issue.id);
    let found = ctx.hub.store.read(move |db| store::comments(db, id, since.as_deref(), page)).await?;
    Ok(ctx.list(found, |comment| json::comment(&ctx.hub.urls, &repository, comment, issue.pull.is_some())))
}

pub(super) async fn create(
    ctx: Context,
    Path((owner, repo, number)): One,
    Input(body): Input<Body>,
) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let user = ctx.user()?;
    let issue = ctx.hub.issue(&repository, id(&number)?).await?;
    let comment = ctx.hub.add_comment(&repository, &user, &issue, &body.text()?).await?;
    let body = json::comment(&ctx.hub.urls, &repository, &comment, issue.pull.is_some());
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

pub(super) async fn get_one(ctx: Context, Path((owner, repo, id)): One) -> Result<Json<Value>, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let (comment, on_pull) = find(&ctx, &repository, &id).await?;
    Ok(Json(json::comment(&ctx.hub.urls, &repository, &comment, on_pull)))
}

pub(super) async fn edit(
    ctx: Context,
    Path((owner, repo, id)): One,
    Input(body): Input<Body>,
) -> Result<Json<Value>, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let user = ctx.user()?;
    let (comment, on_pull) = find(&ctx, &repository, &id).await?;
    if comment.user.id != user.id {
        ctx.require(&repository, Role::Write).await?;
    }
    let comment = ctx.hub.edit_comment(&repository, &user, comment.id, &body.text()?).await?;
    Ok(Json(json::comment(&ctx.hub.urls, &repository, &comment, on_pull)))
}

pub(super) async fn remove(ctx: Context, Path((owner, repo, id)): One) -> Result<StatusCode, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let user = ctx.user()?;
    let (comment, _) = find(&ctx, &repository, &id).await?;
    if comment.user.id != user.id {
        ctx.require(&repository, Role::Write).await?;
    }
    ctx.hub.delete_comment(&repository, &user, comment.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
pub(super) struct NewReaction {
    content: Option<String>,
}

pub(super) async fn react(
    ctx: Context,
    Path((owner, repo, id)): One,
    Input(new): Input<NewReaction>,
) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let user = ctx.user()?;
    let (comment, _) = find(&ctx, &repository, &id).await?;
    let content = new.content.unwrap_or_default();
    if !["+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes"].contains(&content.as_str()) {
        return Err(Error::field("Reaction", "content", "invalid").into());
    }
    let (reaction, fresh) = ctx.hub.store.write(move |db| store::react(db, comment.id, &user, &content)).await?;
    let status = if fresh { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(json::reaction(&ctx.hub.urls, &reaction))).into_response())
}

pub(super) async fn reactions(ctx: Context, Path((owner, repo, id)): One) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let (comment, _) = find(&ctx, &repository, &id).await?;
    let page = ctx.page();
    let found = ctx.hub.store.read(move |db| store::reactions(db, comment.id, page)).await?;
    Ok(ctx.list(found, |reaction| json::reaction(&ctx.hub.urls, reaction)))
}
