//! Issues; pull requests are among them.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::context::{Context, id};
use super::input::Input;
use super::pulls::open_filter;
use super::respond::Answer;
use crate::error::{Error, Result};
use crate::events::Scene;
use crate::model::{Issue, Repository, Role};
use crate::pulls::{check_body, check_title};
use crate::{clock, json, store};

type Repo = Path<(String, String)>;
type One = Path<(String, String, String)>;

pub(super) async fn list(ctx: Context, Path((owner, repo)): Repo) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let labels = ctx.param("labels").unwrap_or_default();
    let filter = store::Filter {
        open: open_filter(ctx.param("state"))?,
        labels: labels.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        creator: ctx.param("creator").map(str::to_owned),
        by_update: ctx.param("sort") == Some("updated"),
        ascending: ctx.param("direction") == Some("asc"),
        ..store::Filter::default()
    };
    let since =
        ctx.param("since").map(|since| clock::parse(since).ok_or_else(|| Error::field("Issue", "since", "invalid")));
    let since = since.transpose()?;
    let (page, id) = (ctx.page(), repository.id);
    let mut found = ctx.hub.store.read(move |db| store::issues(db, id, &filter, page)).await?;
    if let Some(since) = since {
        found.retain(|issue| issue.updated_at >= since);
    }
    Ok(ctx.list(found, |issue| json::issue(&ctx.hub.urls, &repository, issue)))
}

pub(super) async fn get_one(ctx: Context, Path((owner, repo, number)): One) -> Result<Json<Value>, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let issue = ctx.hub.issue(&repository, id(&number)?).await?;
    Ok(Json(json::issue(&ctx.hub.urls, &repository, &issue)))
}

#[derive(Deserialize)]
pub(super) struct Create {
    title: Option<String>,
    body: Option<String>,
}

pub(super) async fn create(
    ctx: Context,
    Path((owner, repo)): Repo,
    Input(new): Input<Create>,
) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let user = ctx.user()?;
    let title = check_title("Issue", new.title.as_deref().unwrap_or_default())?;
    check_body("Issue", new.body.as_deref().unwrap_or_default())?;
    let scene = Scene::new(&ctx.hub.urls, &repository, &user);
    let issue = ctx
        .hub
        .change(move |db| {
            let (_, number) = store::create_issue(db, scene.repository.id, &scene.sender, &title, new.body.as_deref())?;
            scene.issue(db, "opened", number, json!({}))?;
            store::issue(db, scene.repository.id, number)?.ok_or(Error::NotFound)
        })
        .await?;
    let body = json::issue(&ctx.hub.urls, &repository, &issue);
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

#[derive(Deserialize)]
pub(super) struct Edit {
    title: Option<String>,
    body: Option<String>,
    state: Option<String>,
}

pub(super) async fn edit(
    ctx: Context,
    Path((owner, repo, number)): One,
    Input(edit): Input<Edit>,
) -> Result<Json<Value>, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let issue = ctx.hub.issue(&repository, id(&number)?).await?;
    change(&ctx, &repository, &issue, edit.title, edit.body, edit.state.as_deref()).await?;
    let issue = ctx.hub.issue(&repository, issue.number).await?;
    Ok(Json(json::issue(&ctx.hub.urls, &repository, &issue)))
}

/// Title, body and state of an issue or a pull request. Its author may, and who has at least triage.
pub(super) async fn change(
    ctx: &Context,
    repository: &Repository,
    issue: &Issue,
    title: Option<String>,
    body: Option<String>,
    state: Option<&str>,
) -> Result<()> {
    let user = ctx.user()?;
    if user.id != issue.user.id {
        ctx.require(repository, Role::Triage).await?;
    }
    let open = match state {
        None => None,
        Some("open") => Some(true),
        Some("closed") => Some(false),
        Some(_) => return Err(Error::field("Issue", "state", "invalid")),
    };
    if title.is_some() || body.is_some() {
        let title = check_title("Issue", title.as_deref().unwrap_or(&issue.title))?;
        let body = body.or_else(|| issue.body.clone());
        check_body("Issue", body.as_deref().unwrap_or_default())?;
        let facts = match &issue.pull {
            Some(pull) => Some(ctx.hub.facts(repository, issue, pull).await?),
            None => None,
        };
        let scene = Scene::new(&ctx.hub.urls, repository, &user);
        let before = issue.clone();
        ctx.hub
            .change(move |db| {
                store::edit_issue(db, before.id, &title, body.as_deref())?;
                let mut changes = json!({});
                if title != before.title {
                    changes["title"] = json!({ "from": before.title });
                }
                if body != before.body {
                    changes["body"] = json!({ "from": before.body });
                }
                let more = json!({ "changes": changes });
                match facts {
                    Some(facts) => scene.pull(db, "edited", before.number, &facts, more),
                    None => scene.issue(db, "edited", before.number, more),
                }
            })
            .await?;
    }
    match open {
        Some(open) => ctx.hub.set_open(repository, &user, issue, open).await,
        None => Ok(()),
    }
}
