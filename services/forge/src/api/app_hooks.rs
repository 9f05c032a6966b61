//! The webhook of an app, and its deliveries.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::context::{Context, id};
use super::hooks::page_of_deliveries;
use super::respond::Answer;
use crate::app_calls::authenticated_app;
use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::model::{Delivery, Hook, User};
use crate::{json, store};

/// The app that calls.
pub(super) struct App(User);

impl FromRequestParts<Arc<Hub>> for App {
    type Rejection = Answer;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, Self::Rejection> {
        Ok(Self(authenticated_app(hub, parts)?))
    }
}

async fn hook_of(ctx: &Context, app: &User) -> Result<Hook> {
    let app = app.id;
    ctx.hub.store.read(move |db| store::app_hook(db, app)).await?.ok_or(Error::NotFound)
}

async fn find(ctx: &Context, app: &User, text: &str) -> Result<Delivery> {
    let (hook, number) = (hook_of(ctx, app).await?, id(text)?);
    ctx.hub.store.read(move |db| store::delivery(db, hook.id, number)).await?.ok_or(Error::NotFound)
}

pub(super) async fn config(ctx: Context, App(app): App) -> Result<Json<Value>, Answer> {
    let hook = hook_of(&ctx, &app).await?;
    Ok(Json(json::hook_config(&hook)))
}

pub(super) async fn deliveries(ctx: Context, App(app): App) -> Result<Response, Answer> {
    let hook = hook_of(&ctx, &app).await?;
    Ok(page_of_deliveries(&ctx, hook.id).await?)
}

pub(super) async fn delivery(ctx: Context, App(app): App, Path(id): Path<String>) -> Result<Json<Value>, Answer> {
    Ok(Json(json::delivery_detail(&find(&ctx, &app, &id).await?)))
}

/// Sends it again, under the same GUID.
pub(super) async fn redeliver(ctx: Context, App(app): App, Path(id): Path<String>) -> Result<Response, Answer> {
    let delivery = find(&ctx, &app, &id).await?;
    ctx.hub.change(move |db| store::redeliver(db, &delivery)).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({}))).into_response())
}
