//! Deployments and their statuses.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use rusqlite::Connection;
use serde_json::{Map, Value, json};

use super::context::{Context, id};
use super::input::Input;
use super::respond::Answer;
use crate::error::{Error, Result};
use crate::events::Scene;
use crate::hub::Hub;
use crate::model::{Repository, Role, User};
use crate::store::Deployment;
use crate::{json, store};

type Repo = Path<(String, String)>;
type One = Path<(String, String, String)>;

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn row(creator: User, sha: String, environment: String, parent: Option<i64>, fields: Map<String, Value>) -> Deployment {
    Deployment { id: 0, parent, sha, environment, fields, created_at: String::new(), creator }
}

pub(super) async fn list(ctx: Context, Path((owner, repo)): Repo) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let (page, id) = (ctx.page(), repository.id);
    let sha = ctx.param("sha").map(str::to_owned);
    let environment = ctx.param("environment").map(str::to_owned);
    let found =
        ctx.hub.store.read(move |db| store::deployments(db, id, sha.as_deref(), environment.as_deref(), page)).await?;
    Ok(ctx.list(found, |one| json::deployment(&ctx.hub.urls, &repository, one)))
}

pub(super) async fn create(
    ctx: Context,
    Path((owner, repo)): Repo,
    Input(fields): Input<Map<String, Value>>,
) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let user = ctx.require(&repository, Role::Write).await?;
    let reference = text(&fields, "ref").ok_or_else(|| Error::field("Deployment", "ref", "missing_field"))?;
    let sha = ctx.hub.bare(&repository)?.commit_of(reference).await?;
    let sha = sha.ok_or_else(|| Error::invalid(format!("No ref found for: {reference}")))?;
    let made = make(&ctx.hub, &repository, user, sha, fields).await?;
    let body = json::deployment(&ctx.hub.urls, &repository, &made);
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// Makes a deployment of a commit, unless a status or check that it needs is not good.
pub(crate) async fn make(
    hub: &Hub,
    repository: &Repository,
    user: User,
    sha: String,
    fields: Map<String, Value>,
) -> Result<Deployment> {
    let required: Option<Vec<String>> = match fields.get("required_contexts") {
        None | Some(Value::Null) => None,
        Some(list) => Some(
            serde_json::from_value(list.clone())
                .map_err(|_| Error::field("Deployment", "required_contexts", "invalid"))?,
        ),
    };
    let bad = hub.bad_contexts(repository, &sha, required.as_deref()).await?;
    if !bad.is_empty() {
        let name = text(&fields, "ref").unwrap_or(&sha);
        return Err(Error::Conflict(format!("Conflict: Commit status checks failed for {name}.")));
    }
    let environment = text(&fields, "environment").unwrap_or("production").to_owned();
    keep(hub, repository, "deployment", row(user, sha, environment, None, fields)).await
}

/// Adds a status to a deployment.
pub(crate) async fn make_status(
    hub: &Hub,
    repository: &Repository,
    user: User,
    deployment: Deployment,
    fields: Map<String, Value>,
) -> Result<Deployment> {
    let known = ["error", "failure", "inactive", "in_progress", "queued", "pending", "success"];
    if !text(&fields, "state").is_some_and(|state| known.contains(&state)) {
        return Err(Error::field("DeploymentStatus", "state", "invalid"));
    }
    let environment = text(&fields, "environment").unwrap_or(&deployment.environment).to_owned();
    let new = row(user, deployment.sha, environment, Some(deployment.id), fields);
    keep(hub, repository, "deployment_status", new).await
}

async fn keep(hub: &Hub, repository: &Repository, event: &'static str, new: Deployment) -> Result<Deployment> {
    let scene = Scene::new(&hub.urls, repository, &new.creator);
    hub.change(move |db| {
        let made = store::create_deployment(db, scene.repository.id, new)?;
        let fields = match made.parent {
            None => json!({
                "deployment": json::deployment(&scene.urls, &scene.repository, &made),
                "workflow": null,
                "workflow_run": null,
            }),
            Some(parent) => {
                let deployment = store::deployment(db, scene.repository.id, parent)?.ok_or(Error::NotFound)?;
                json!({
                    "deployment": json::deployment(&scene.urls, &scene.repository, &deployment),
                    "deployment_status": json::deployment_status(&scene.urls, &scene.repository, &made),
                })
            }
        };
        // GitHub says nothing of what became inactive.
        if text(&made.fields, "state") != Some("inactive") {
            scene.emit(db, event, Some("created"), fields)?;
        }
        if let Some(parent) = made.parent {
            replace(db, scene.repository.id, parent, &made)?;
        }
        Ok(made)
    })
    .await
}

/// A success makes the older ones of its environment inactive, unless told otherwise: those that succeeded and are
/// neither transient nor in production.
fn replace(db: &Connection, repository: i64, deployment: i64, status: &Deployment) -> Result<()> {
    let flag = |row: &Deployment, name: &str| row.fields.get(name).and_then(Value::as_bool);
    if text(&status.fields, "state") != Some("success") || flag(status, "auto_inactive") == Some(false) {
        return Ok(());
    }
    for old in store::deployments(db, repository, None, Some(&status.environment), store::Page::ALL)? {
        let production = flag(&old, "production_environment").unwrap_or(old.environment == "production");
        if old.id >= deployment || production || flag(&old, "transient_environment") == Some(true) {
            continue;
        }
        let newest = store::deployment_statuses(db, old.id, store::Page { number: 1, size: 1 })?.into_iter().next();
        if newest.is_some_and(|newest| text(&newest.fields, "state") == Some("success")) {
            let fields = Map::from_iter([("state".to_owned(), "inactive".into())]);
            let creator = status.creator.clone();
            store::create_deployment(db, repository, row(creator, old.sha, old.environment, Some(old.id), fields))?;
        }
    }
    Ok(())
}

async fn find(ctx: &Context, repository: &Repository, number: &str) -> Result<Deployment> {
    let (repository, number) = (repository.id, id(number)?);
    ctx.hub.store.read(move |db| store::deployment(db, repository, number)).await?.ok_or(Error::NotFound)
}

pub(super) async fn get_one(ctx: Context, Path((owner, repo, id)): One) -> Result<Json<Value>, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let found = find(&ctx, &repository, &id).await?;
    Ok(Json(json::deployment(&ctx.hub.urls, &repository, &found)))
}

pub(super) async fn statuses(ctx: Context, Path((owner, repo, id)): One) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let deployment = find(&ctx, &repository, &id).await?;
    let page = ctx.page();
    let found = ctx.hub.store.read(move |db| store::deployment_statuses(db, deployment.id, page)).await?;
    Ok(ctx.list(found, |one| json::deployment_status(&ctx.hub.urls, &repository, one)))
}

pub(super) async fn status(
    ctx: Context,
    Path((owner, repo, number, status)): Path<(String, String, String, String)>,
) -> Result<Json<Value>, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let (deployment, wanted) = (find(&ctx, &repository, &number).await?, id(&status)?);
    let all = ctx.hub.store.read(move |db| store::deployment_statuses(db, deployment.id, store::Page::ALL)).await?;
    let found = all.into_iter().find(|one| one.id == wanted).ok_or(Error::NotFound)?;
    Ok(Json(json::deployment_status(&ctx.hub.urls, &repository, &found)))
}

pub(super) async fn create_status(
    ctx: Context,
    Path((owner, repo, id)): One,
    Input(fields): Input<Map<String, Value>>,
) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let user = ctx.require(&repository, Role::Write).await?;
    let deployment = find(&ctx, &repository, &id).await?;
    let made = make_status(&ctx.hub, &repository, user, deployment, fields).await?;
    let body = json::deployment_status(&ctx.hub.urls, &repository, &made);
    Ok((StatusCode::CREATED, Json(body)).into_response())
}
