//! Webhooks of a repository, and their deliveries.

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
use crate::events::{EVENTS, Scene};
use crate::model::{Delivery, Hook, Repository, Role, User};
use crate::store::{NewHook, Page};
use crate::{json, store};

type Repo = Path<(String, String)>;
type One = Path<(String, String, String)>;

/// Admins, and apps that may write: an app is given webhooks as a permission of its own.
async fn keeper(ctx: &Context, repository: &Repository) -> Result<User> {
    let user = ctx.user()?;
    let role = ctx.hub.role(repository, &user).await?;
    if role >= Role::Admin || (user.is_bot() && role >= Role::Write) { Ok(user) } else { Err(Error::NotFound) }
}

async fn find(ctx: &Context, owner: &str, repo: &str, text: &str) -> Result<(Repository, User, Hook)> {
    let repository = ctx.repository(owner, repo).await?;
    let user = keeper(ctx, &repository).await?;
    let (home, number) = (repository.id, id(text)?);
    let hook = ctx.hub.store.read(move |db| store::hook(db, home, number)).await?.ok_or(Error::NotFound)?;
    Ok((repository, user, hook))
}

async fn render(ctx: &Context, repository: &Repository, hook: &Hook) -> Result<Value> {
    let (id, one) = (hook.id, Page { number: 1, size: 1 });
    let last = ctx.hub.store.read(move |db| store::deliveries(db, id, None, one)).await?;
    Ok(json::hook(&ctx.hub.urls, repository, hook, last.first()))
}

pub(super) async fn list(ctx: Context, Path((owner, repo)): Repo) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    keeper(&ctx, &repository).await?;
    let (page, id) = (ctx.page(), repository.id);
    let found = ctx.hub.store.read(move |db| store::hooks(db, id, page)).await?;
    let (found, links) = ctx.cut(found);
    let mut body = Vec::with_capacity(found.len());
    for hook in &found {
        body.push(render(&ctx, &repository, hook).await?);
    }
    Ok(linked(Json(body).into_response(), &links))
}

#[derive(Deserialize)]
pub(super) struct Fields {
    config: Option<Config>,
    events: Option<Vec<String>>,
    add_events: Option<Vec<String>>,
    remove_events: Option<Vec<String>>,
    active: Option<bool>,
}

#[derive(Deserialize)]
struct Config {
    url: Option<String>,
    content_type: Option<String>,
    secret: Option<String>,
}

impl Fields {
    /// Laid over what is there.
    fn over(self, old: NewHook) -> Result<NewHook> {
        let mut hook = old;
        if let Some(config) = self.config {
            if let Some(url) = config.url {
                hook.url = url;
            }
            match config.content_type.as_deref() {
                None => {}
                Some("json") => hook.form = false,
                Some("form") => hook.form = true,
                Some(_) => return Err(Error::field("Hook", "content_type", "invalid")),
            }
            // Without a secret in `config`, GitHub takes the old one away.
            hook.secret = config.secret.filter(|secret| !secret.is_empty());
        }
        if let Some(events) = self.events {
            hook.events = events;
        }
        hook.events.extend(self.add_events.unwrap_or_default());
        let removed = self.remove_events.unwrap_or_default();
        hook.events.retain(|event| !removed.contains(event));
        hook.active = self.active.unwrap_or(hook.active);
        if !is_target(&hook.url) {
            return Err(Error::custom("Hook", "url", "url is missing a scheme"));
        }
        if hook.events.is_empty() || hook.events.iter().any(|event| !EVENTS.contains(&event.as_str())) {
            return Err(Error::field("Hook", "events", "invalid"));
        }
        Ok(hook)
    }
}

/// Whether webhooks can be sent there.
pub(crate) fn is_target(url: &str) -> bool {
    url.parse::<axum::http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    })
}

pub(super) async fn create(
    ctx: Context,
    Path((owner, repo)): Repo,
    Input(new): Input<Fields>,
) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let user = keeper(&ctx, &repository).await?;
    let empty = NewHook { url: String::new(), secret: None, form: true, events: vec!["push".to_owned()], active: true };
    let new = new.over(empty)?;
    let scene = Scene::new(&ctx.hub.urls, &repository, &user);
    let (home, taken) = (repository.id, new.clone());
    let hook = ctx
        .hub
        .change(move |db| {
            if store::hooks(db, home, Page::ALL)?
                .iter()
                .any(|hook| hook.url == taken.url && hook.events == taken.events)
            {
                return Err(Error::custom("Hook", "url", "Hook already exists on this repository"));
            }
            let id = store::create_hook(db, home, None, &new)?;
            scene.ping(db, id)?;
            store::hook(db, home, id)?.ok_or(Error::NotFound)
        })
        .await?;
    let body = json::hook(&ctx.hub.urls, &repository, &hook, None);
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

pub(super) async fn get_one(ctx: Context, Path((owner, repo, id)): One) -> Result<Json<Value>, Answer> {
    let (repository, _, hook) = find(&ctx, &owner, &repo, &id).await?;
    Ok(Json(render(&ctx, &repository, &hook).await?))
}

pub(super) async fn edit(
    ctx: Context,
    Path((owner, repo, id)): One,
    Input(edit): Input<Fields>,
) -> Result<Json<Value>, Answer> {
    let (repository, _, hook) = find(&ctx, &owner, &repo, &id).await?;
    let (home, id) = (repository.id, hook.id);
    let old = NewHook { url: hook.url, secret: hook.secret, form: hook.form, events: hook.events, active: hook.active };
    let new = edit.over(old)?;
    let hook = ctx
        .hub
        .change(move |db| {
            store::update_hook(db, id, &new)?;
            store::hook(db, home, id)?.ok_or(Error::NotFound)
        })
        .await?;
    Ok(Json(render(&ctx, &repository, &hook).await?))
}

pub(super) async fn remove(ctx: Context, Path((owner, repo, id)): One) -> Result<StatusCode, Answer> {
    let (_, _, hook) = find(&ctx, &owner, &repo, &id).await?;
    ctx.hub.store.write(move |db| store::delete_hook(db, hook.id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn ping(ctx: Context, Path((owner, repo, id)): One) -> Result<StatusCode, Answer> {
    let (repository, user, hook) = find(&ctx, &owner, &repo, &id).await?;
    let scene = Scene::new(&ctx.hub.urls, &repository, &user);
    ctx.hub.change(move |db| scene.ping(db, hook.id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn deliveries(ctx: Context, Path((owner, repo, id)): One) -> Result<Response, Answer> {
    let (_, _, hook) = find(&ctx, &owner, &repo, &id).await?;
    Ok(page_of_deliveries(&ctx, hook.id).await?)
}

/// Newest first. The cursor is the oldest delivery of the page before.
pub(super) async fn page_of_deliveries(ctx: &Context, hook: i64) -> Result<Response> {
    let before = match ctx.param("cursor") {
        None => None,
        Some(cursor) => {
            let parsed = cursor.strip_prefix("v1_").and_then(|id| id.parse::<i64>().ok());
            Some(parsed.ok_or_else(|| Error::BadRequest("Invalid cursor".to_owned()))?)
        }
    };
    let page = Page { number: 1, ..ctx.page() };
    let mut found = ctx.hub.store.read(move |db| store::deliveries(db, hook, before, page)).await?;
    let more = found.len() > page.size as usize;
    found.truncate(page.size as usize);
    let links: Vec<String> = match found.last() {
        Some(last) if more => vec![ctx.link("next", "cursor", &format!("v1_{}", last.id))],
        _ => Vec::new(),
    };
    let body: Vec<Value> = found.iter().map(json::delivery).collect();
    Ok(linked(Json(body).into_response(), &links))
}

async fn find_delivery(
    ctx: &Context,
    (owner, repo, hook, delivery): (String, String, String, String),
) -> Result<Delivery> {
    let (_, _, hook) = find(ctx, &owner, &repo, &hook).await?;
    let number = id(&delivery)?;
    ctx.hub.store.read(move |db| store::delivery(db, hook.id, number)).await?.ok_or(Error::NotFound)
}

type OneDelivery = Path<(String, String, String, String)>;

pub(super) async fn delivery(ctx: Context, Path(path): OneDelivery) -> Result<Json<Value>, Answer> {
    Ok(Json(json::delivery_detail(&find_delivery(&ctx, path).await?)))
}

/// Sends it again, under the same GUID.
pub(super) async fn redeliver(ctx: Context, Path(path): OneDelivery) -> Result<Response, Answer> {
    let delivery = find_delivery(&ctx, path).await?;
    ctx.hub.change(move |db| store::redeliver(db, &delivery)).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({}))).into_response())
}
