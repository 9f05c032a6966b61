//! Labels of repositories and issues.

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
use crate::hub::Hub;
use crate::model::{Label, Repository, Role};
use crate::talk::Relabel;
use crate::{json, store};

type Repo = Path<(String, String)>;
type One = Path<(String, String, String)>;

fn render(ctx: &Context, repository: &Repository, labels: &[Label]) -> Json<Value> {
    Json(labels.iter().map(|label| json::label(&ctx.hub.urls, repository, label)).collect())
}

pub(super) async fn list(ctx: Context, Path((owner, repo)): Repo) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let (page, id) = (ctx.page(), repository.id);
    let found = ctx.hub.store.read(move |db| store::labels(db, id, page)).await?;
    Ok(ctx.list(found, |label| json::label(&ctx.hub.urls, &repository, label)))
}

/// What a caller says about a label.
#[derive(Deserialize)]
pub(crate) struct Fields {
    name: Option<String>,
    new_name: Option<String>,
    color: Option<String>,
    description: Option<String>,
}

impl Fields {
    fn check(&self) -> Result<()> {
        let name = self.new_name.as_ref().or(self.name.as_ref());
        if name.is_some_and(|name| name.trim().is_empty() || name.chars().count() > 50) {
            return Err(Error::field("Label", "name", "invalid"));
        }
        let hex = |color: &String| color.len() == 6 && color.bytes().all(|byte| byte.is_ascii_hexdigit());
        if self.color.as_ref().is_some_and(|color| !hex(color)) {
            return Err(Error::field("Label", "color", "invalid"));
        }
        if self.description.as_ref().is_some_and(|text| text.chars().count() > 100) {
            return Err(Error::field("Label", "description", "invalid"));
        }
        Ok(())
    }
}

/// Makes a label.
pub(crate) async fn make(hub: &Hub, repository: &Repository, new: Fields) -> Result<Label> {
    new.check()?;
    let name = new.name.ok_or_else(|| Error::field("Label", "name", "missing_field"))?;
    let id = repository.id;
    let make = move |db: &_| store::create_label(db, id, &name, new.color.as_deref(), new.description.as_deref());
    hub.store.write(move |db| make(db)).await?.ok_or_else(|| Error::field("Label", "name", "already_exists"))
}

pub(super) async fn create(
    ctx: Context,
    Path((owner, repo)): Repo,
    Input(new): Input<Fields>,
) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    ctx.require(&repository, Role::Write).await?;
    let label = make(&ctx.hub, &repository, new).await?;
    Ok((StatusCode::CREATED, Json(json::label(&ctx.hub.urls, &repository, &label))).into_response())
}

async fn find(ctx: &Context, repository: &Repository, name: String) -> Result<Label> {
    let id = repository.id;
    ctx.hub.store.read(move |db| store::label(db, id, &name)).await?.ok_or(Error::NotFound)
}

pub(super) async fn get_one(ctx: Context, Path((owner, repo, name)): One) -> Result<Json<Value>, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let label = find(&ctx, &repository, name).await?;
    Ok(Json(json::label(&ctx.hub.urls, &repository, &label)))
}

pub(super) async fn edit(
    ctx: Context,
    Path((owner, repo, name)): One,
    Input(edit): Input<Fields>,
) -> Result<Json<Value>, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    ctx.require(&repository, Role::Write).await?;
    edit.check()?;
    let old = find(&ctx, &repository, name).await?;
    let label = Label {
        id: old.id,
        name: edit.new_name.unwrap_or(old.name),
        color: edit.color.unwrap_or(old.color),
        description: edit.description.or(old.description),
    };
    let body = json::label(&ctx.hub.urls, &repository, &label);
    ctx.hub.store.write(move |db| store::update_label(db, &label)).await?;
    Ok(Json(body))
}

pub(super) async fn of_issue(ctx: Context, Path((owner, repo, number)): One) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let issue = ctx.hub.issue(&repository, id(&number)?).await?;
    Ok(ctx.list(ctx.slice(issue.labels), |label| json::label(&ctx.hub.urls, &repository, label)))
}

/// Names, wrapped in an object or not: GitHub takes both.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Names {
    Wrapped {
        #[serde(default)]
        labels: Vec<Name>,
    },
    Bare(Vec<Name>),
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Name {
    Plain(String),
    Object { name: String },
}

impl Names {
    fn list(self) -> Vec<String> {
        let (Self::Wrapped { labels } | Self::Bare(labels)) = self;
        let text = |name| match name {
            Name::Plain(name) | Name::Object { name } => name,
        };
        labels.into_iter().map(text).collect()
    }
}

async fn relabel(
    ctx: Context,
    (owner, repo, number): (String, String, String),
    how: Relabel,
) -> Result<Json<Value>, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let user = ctx.require(&repository, Role::Triage).await?;
    let issue = ctx.hub.issue(&repository, id(&number)?).await?;
    let labels = ctx.hub.relabel(&repository, &user, &issue, how).await?;
    Ok(render(&ctx, &repository, &labels))
}

pub(super) async fn add(ctx: Context, Path(path): One, Input(names): Input<Names>) -> Result<Json<Value>, Answer> {
    relabel(ctx, path, Relabel::Add(names.list())).await
}

pub(super) async fn set(ctx: Context, Path(path): One, Input(names): Input<Names>) -> Result<Json<Value>, Answer> {
    relabel(ctx, path, Relabel::Set(names.list())).await
}

pub(super) async fn clear(ctx: Context, Path(path): One) -> Result<StatusCode, Answer> {
    relabel(ctx, path, Relabel::Set(Vec::new())).await.map(|_| StatusCode::NO_CONTENT)
}

pub(super) async fn remove(
    ctx: Context,
    Path((owner, repo, number, name)): Path<(String, String, String, String)>,
) -> Result<Json<Value>, Answer> {
    relabel(ctx, (owner, repo, number), Relabel::Remove(name)).await
}
