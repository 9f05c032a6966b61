//! Pull requests.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::context::{Context, id};
use super::input::Input;
use super::respond::Answer;
use crate::error::{Error, Result};
use crate::json;
use crate::model::{Issue, Repository, Role};
use crate::pulls::{MergeOrder, NewPull};
use crate::{names, store};

type Repo = Path<(String, String)>;
type One = Path<(String, String, String)>;

pub(super) async fn list(ctx: Context, Path((owner, repo)): Repo) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let (head_owner, head) = match ctx.param("head").map(|head| head.split_once(':').ok_or(head)) {
        Some(Ok((owner, branch))) if owner.eq_ignore_ascii_case(&repository.owner.login) => (Some(""), Some(branch)),
        Some(Ok((owner, branch))) => (Some(owner), Some(branch)),
        Some(Err(branch)) => (None, Some(branch)),
        None => (None, None),
    };
    let filter = store::Filter {
        open: open_filter(ctx.param("state"))?,
        pulls_only: true,
        head_ref: head.map(str::to_owned),
        head_owner: head_owner.map(str::to_owned),
        base_ref: ctx.param("base").map(str::to_owned),
        by_update: ctx.param("sort") == Some("updated"),
        ascending: ctx.param("direction") == Some("asc"),
        ..store::Filter::default()
    };
    let (page, id) = (ctx.page(), repository.id);
    let found = ctx.hub.store.read(move |db| store::issues(db, id, &filter, page)).await?;
    Ok(ctx.list(found, |issue| match &issue.pull {
        Some(pull) => json::pull(&ctx.hub.urls, &repository, issue, pull, None),
        None => Value::Null,
    }))
}

/// `state` of a list: open unless told.
pub(super) fn open_filter(state: Option<&str>) -> Result<Option<bool>> {
    match state {
        None | Some("open") => Ok(Some(true)),
        Some("closed") => Ok(Some(false)),
        Some("all") => Ok(None),
        Some(_) => Err(Error::field("Issue", "state", "invalid")),
    }
}

async fn whole(ctx: &Context, repository: &Repository, number: i64) -> Result<Value> {
    let (issue, pull) = ctx.hub.pull(repository, number).await?;
    let mut facts = ctx.hub.facts(repository, &issue, &pull).await?;
    if issue.open && ctx.hub.faults.is_first_look(&pull.base_sha, &pull.head_sha) {
        (facts.mergeable, facts.mergeable_state) = (None, "unknown");
    }
    Ok(json::pull(&ctx.hub.urls, repository, &issue, &pull, Some(&facts)))
}

pub(super) async fn get_one(ctx: Context, Path((owner, repo, number)): One) -> Result<Json<Value>, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    Ok(Json(whole(&ctx, &repository, id(&number)?).await?))
}

#[derive(Deserialize)]
pub(super) struct Create {
    title: Option<String>,
    body: Option<String>,
    head: Option<String>,
    base: Option<String>,
    #[serde(default)]
    draft: bool,
}

pub(super) async fn create(
    ctx: Context,
    Path((owner, repo)): Repo,
    Input(new): Input<Create>,
) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let user = ctx.require(&repository, Role::Read).await?;
    let missing = |field| Error::field("PullRequest", field, "missing_field");
    let new = NewPull {
        title: new.title.ok_or_else(|| missing("title"))?,
        body: new.body,
        head: new.head.ok_or_else(|| missing("head"))?,
        base: new.base.ok_or_else(|| missing("base"))?,
        draft: new.draft,
    };
    let issue = ctx.hub.open_pull(&repository, &user, new).await?;
    let body = whole(&ctx, &repository, issue.number).await?;
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

#[derive(Deserialize)]
pub(super) struct Edit {
    title: Option<String>,
    body: Option<String>,
    state: Option<String>,
    base: Option<String>,
    draft: Option<bool>,
}

pub(super) async fn edit(
    ctx: Context,
    Path((owner, repo, number)): One,
    Input(edit): Input<Edit>,
) -> Result<Json<Value>, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let (issue, _) = ctx.hub.pull(&repository, id(&number)?).await?;
    super::issues::change(&ctx, &repository, &issue, edit.title, edit.body, edit.state.as_deref()).await?;
    if let Some(base) = edit.base {
        let user = ctx.user()?;
        if user.id != issue.user.id {
            ctx.require(&repository, Role::Write).await?;
        }
        ctx.hub.retarget(&repository, &user, issue.number, &base).await?;
    }
    if let Some(draft) = edit.draft {
        ctx.hub.store.write(move |db| store::set_draft(db, issue.id, draft)).await?;
    }
    Ok(Json(whole(&ctx, &repository, issue.number).await?))
}

pub(super) async fn is_merged(ctx: Context, Path((owner, repo, number)): One) -> Result<StatusCode, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let (_, pull) = ctx.hub.pull(&repository, id(&number)?).await?;
    pull.merged_at.map(|_| StatusCode::NO_CONTENT).ok_or_else(|| Error::NotFound.into())
}

pub(super) async fn merge(
    ctx: Context,
    Path((owner, repo, number)): One,
    Input(order): Input<MergeOrder>,
) -> Result<Json<Value>, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let user = ctx.require(&repository, Role::Write).await?;
    if order.sha.as_ref().is_some_and(|sha| !names::is_sha(sha)) {
        return Err(Error::field("PullRequest", "sha", "invalid").into());
    }
    let sha = ctx.hub.merge(&repository, &user, id(&number)?, order).await?;
    Ok(Json(json!({ "sha": sha, "merged": true, "message": "Pull Request successfully merged" })))
}

#[derive(Deserialize)]
pub(super) struct Update {
    expected_head_sha: Option<String>,
}

pub(super) async fn update_branch(
    ctx: Context,
    Path((owner, repo, number)): One,
    Input(update): Input<Update>,
) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let user = ctx.require(&repository, Role::Write).await?;
    let number = id(&number)?;
    ctx.hub.update_branch(&repository, &user, number, update.expected_head_sha).await?;
    let url = format!("{}/pulls/{number}", ctx.hub.urls.api(&repository));
    let body = json!({ "message": "Updating pull request branch.", "url": url });
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

pub(super) async fn files(ctx: Context, Path((owner, repo, number)): One) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let (_, pull) = ctx.hub.pull(&repository, id(&number)?).await?;
    let bare = ctx.hub.bare(&repository)?;
    let merge_base = bare.merge_base(&pull.base_sha, &pull.head_sha).await?;
    let files = bare.changes(merge_base.as_deref(), &pull.head_sha, true).await?;
    Ok(ctx.list(ctx.slice(files), |file| json::file(&ctx.hub.urls, &repository, &pull.head_sha, file)))
}

pub(super) async fn commits(ctx: Context, Path((owner, repo, number)): One) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let (_, pull) = ctx.hub.pull(&repository, id(&number)?).await?;
    let all = ctx.hub.bare(&repository)?.commits(&pull.base_sha, &pull.head_sha, 250).await?;
    Ok(ctx.list(ctx.slice(all), |commit| json::commit(&ctx.hub.urls, &repository, commit)))
}

pub(super) async fn reviews(ctx: Context, Path((owner, repo, number)): One) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let (issue, _) = ctx.hub.pull(&repository, id(&number)?).await?;
    let (page, id) = (ctx.page(), issue.id);
    let found = ctx.hub.store.read(move |db| store::reviews(db, id, page)).await?;
    Ok(ctx.list(found, |review| json::review(&ctx.hub.urls, &repository, issue.number, review)))
}

#[derive(Deserialize)]
pub(super) struct NewReview {
    event: Option<String>,
    #[serde(default)]
    body: String,
    commit_id: Option<String>,
}

pub(super) async fn create_review(
    ctx: Context,
    Path((owner, repo, number)): One,
    Input(new): Input<NewReview>,
) -> Result<Json<Value>, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let (issue, pull) = ctx.hub.pull(&repository, id(&number)?).await?;
    let user = ctx.require(&repository, Role::Read).await?;
    let state = match new.event.as_deref() {
        Some("APPROVE") => "APPROVED",
        Some("REQUEST_CHANGES") => "CHANGES_REQUESTED",
        Some("COMMENT") => "COMMENTED",
        _ => return Err(Error::field("PullRequestReview", "event", "invalid").into()),
    };
    if own_verdict(&issue, user.id, state) {
        return Err(Error::invalid("Can not approve your own pull request").into());
    }
    if state != "APPROVED" && new.body.trim().is_empty() {
        return Err(Error::field("PullRequestReview", "body", "missing_field").into());
    }
    let commit = match new.commit_id {
        Some(sha) => ctx.hub.commit_of(&repository, &sha).await?,
        None => pull.head_sha,
    };
    let review = ctx.hub.add_review(&repository, &user, &issue, state, &new.body, &commit).await?;
    Ok(Json(json::review(&ctx.hub.urls, &repository, issue.number, &review)))
}

fn own_verdict(issue: &Issue, user: i64, state: &str) -> bool {
    issue.user.id == user && state != "COMMENTED"
}
