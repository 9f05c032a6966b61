//! Who am I, who is that, and how many requests are left.

use axum::Json;
use axum::extract::Path;
use serde_json::{Value, json};

use super::context::Context;
use super::respond::Answer;
use crate::error::Error;
use crate::hub::Resource;
use crate::json;
use crate::model::User;

fn profile(ctx: &Context, user: &User) -> Value {
    let mut value = json::user(&ctx.hub.urls, user);
    for name in ["name", "company", "location", "email", "bio", "hireable", "twitter_username"] {
        value[name] = Value::Null;
    }
    for name in ["public_repos", "public_gists", "followers", "following"] {
        value[name] = 0.into();
    }
    value["blog"] = "".into();
    value["created_at"] = "2026-01-01T00:00:00Z".into();
    value["updated_at"] = "2026-01-01T00:00:00Z".into();
    value
}

pub(super) async fn me(ctx: Context) -> Result<Json<Value>, Answer> {
    let user = ctx.user()?;
    if ctx.caller.grant.is_some() {
        return Err(Error::Forbidden("Resource not accessible by integration".to_owned()).into());
    }
    Ok(Json(profile(&ctx, &user)))
}

pub(super) async fn get_one(ctx: Context, Path(login): Path<String>) -> Result<Json<Value>, Answer> {
    let user = ctx.hub.user(&login).await?.ok_or(Error::NotFound)?;
    Ok(Json(profile(&ctx, &user)))
}

pub(super) async fn rate_limit(ctx: Context) -> Json<Value> {
    let of = |resource| {
        let rate = ctx.hub.rate(ctx.caller.user.as_ref(), resource);
        json!({
            "limit": rate.limit,
            "used": rate.used,
            "remaining": rate.limit.saturating_sub(rate.used),
            "reset": rate.reset,
            "resource": resource.as_str(),
        })
    };
    let (core, graphql) = (of(Resource::Core), of(Resource::Graphql));
    Json(json!({ "resources": { "core": core, "search": core, "graphql": graphql }, "rate": core }))
}
