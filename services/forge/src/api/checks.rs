//! Check runs and commit statuses.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::context::{Context, id, linked};
use super::input::Input;
use super::respond::Answer;
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::model::{CheckAction, CheckFields, CheckRun, Repository, Role};
use crate::{clock, json, names, store};

type Repo = Path<(String, String)>;
type One = Path<(String, String, String)>;

/// Longest summary or text of a check run, in characters.
const TEXT_LIMIT: usize = 65_535;
/// Most annotations in one request.
const ANNOTATIONS: usize = 50;
/// Most buttons.
const ACTIONS: usize = 3;

/// What a caller says about a check run.
#[derive(Deserialize)]
pub(crate) struct Edit {
    name: Option<String>,
    head_sha: Option<String>,
    status: Option<String>,
    conclusion: Option<String>,
    external_id: Option<String>,
    details_url: Option<String>,
    started_at: Option<String>,
    completed_at: Option<String>,
    output: Option<Output>,
    actions: Option<Vec<CheckAction>>,
}

#[derive(Deserialize)]
struct Output {
    title: Option<String>,
    summary: Option<String>,
    text: Option<String>,
    #[serde(default)]
    annotations: Vec<Value>,
}

fn wrong(field: &'static str) -> Error {
    Error::field("CheckRun", field, "invalid")
}

impl Edit {
    /// Lays what was sent over what is there.
    fn apply(self, fields: &mut CheckFields) -> Result<()> {
        if let Some(name) = self.name {
            fields.name = name;
        }
        if let Some(status) = self.status {
            if !["queued", "in_progress", "completed", "waiting", "requested", "pending"].contains(&status.as_str()) {
                return Err(wrong("status"));
            }
            if status != "completed" {
                (fields.conclusion, fields.completed_at) = (None, None);
            }
            fields.status = status;
        }
        if let Some(conclusion) = self.conclusion {
            let known =
                ["action_required", "cancelled", "failure", "neutral", "success", "skipped", "stale", "timed_out"];
            if !known.contains(&conclusion.as_str()) {
                return Err(wrong("conclusion"));
            }
            fields.conclusion = Some(conclusion);
            "completed".clone_into(&mut fields.status);
        }
        if fields.status == "completed" && fields.conclusion.is_none() {
            return Err(Error::field("CheckRun", "conclusion", "missing_field"));
        }
        let time = |text: String, field| clock::parse(&text).ok_or_else(|| wrong(field));
        if let Some(text) = self.started_at {
            fields.started_at = Some(time(text, "started_at")?);
        }
        if let Some(text) = self.completed_at {
            fields.completed_at = Some(time(text, "completed_at")?);
        }
        if fields.status == "completed" && fields.completed_at.is_none() {
            fields.completed_at = Some(clock::now());
        }
        if let Some(url) = self.details_url {
            if !url.starts_with("http://") && !url.starts_with("https://") {
                return Err(wrong("details_url"));
            }
            fields.details_url = Some(url);
        }
        if self.external_id.is_some() {
            fields.external_id = self.external_id;
        }
        if let Some(actions) = self.actions {
            let long = |action: &CheckAction| {
                let count = |text: &str| text.chars().count();
                count(&action.label) > 20 || count(&action.description) > 40 || count(&action.identifier) > 20
            };
            if actions.len() > ACTIONS || actions.iter().any(long) {
                return Err(wrong("actions"));
            }
            fields.actions = actions;
        }
        self.output.map_or(Ok(()), |output| output.apply(fields))
    }
}

impl Output {
    fn apply(self, fields: &mut CheckFields) -> Result<()> {
        if self.summary.is_none() {
            return Err(Error::field("CheckRun", "summary", "missing_field"));
        }
        let long = |text: &Option<String>| text.as_ref().is_some_and(|text| text.chars().count() > TEXT_LIMIT);
        if long(&self.summary) || long(&self.text) || long(&self.title) {
            return Err(Error::custom("CheckRun", "output", "the output is too long (maximum is 65535 characters)"));
        }
        if self.annotations.len() > ANNOTATIONS {
            return Err(wrong("annotations"));
        }
        for annotation in &self.annotations {
            let has = |name: &str| !annotation[name].is_null();
            let level = annotation["annotation_level"].as_str().unwrap_or_default();
            let lines = (annotation["start_line"].as_i64(), annotation["end_line"].as_i64());
            if !["path", "start_line", "end_line", "annotation_level", "message"].iter().all(|name| has(name)) {
                return Err(Error::field("CheckRun", "annotations", "missing_field"));
            }
            let ordered = matches!(lines, (Some(start), Some(end)) if start >= 1 && start <= end);
            if !["notice", "warning", "failure"].contains(&level) || !ordered || !annotation["path"].is_string() {
                return Err(wrong("annotations"));
            }
        }
        fields.annotations.extend(self.annotations);
        fields.title = self.title.or(fields.title.take());
        fields.summary = self.summary;
        fields.text = self.text.or(fields.text.take());
        Ok(())
    }
}

/// Makes a check run for the App that calls.
pub(crate) async fn make(hub: &Hub, caller: &Caller, repository: &Repository, new: Edit) -> Result<CheckRun> {
    let user = caller.require_app(hub, repository).await?;
    let missing = |field| Error::field("CheckRun", field, "missing_field");
    if new.name.as_deref().unwrap_or_default().trim().is_empty() {
        return Err(missing("name"));
    }
    let sha = new.head_sha.clone().ok_or_else(|| missing("head_sha"))?;
    if !names::is_sha(&sha) || hub.bare(repository)?.commit_of(&sha).await?.is_none() {
        return Err(Error::invalid(format!("No commit found for SHA: {sha}")));
    }
    let mut fields =
        CheckFields { status: "queued".to_owned(), started_at: Some(clock::now()), ..CheckFields::default() };
    new.apply(&mut fields)?;
    hub.create_check(repository, &user, sha, fields).await
}

/// Changes a check run of the App that calls.
pub(crate) async fn change(
    hub: &Hub,
    caller: &Caller,
    repository: &Repository,
    id: i64,
    edit: Edit,
) -> Result<CheckRun> {
    let user = caller.require_app(hub, repository).await?;
    hub.update_check(repository, &user, id, |fields| edit.apply(fields)).await
}

async fn render(ctx: &Context, repository: &Repository, run: &CheckRun) -> Result<Value> {
    let (id, sha) = (repository.id, run.head_sha.clone());
    let pulls = ctx.hub.store.read(move |db| store::issues_of_sha(db, id, &sha)).await?;
    Ok(json::check_run(&ctx.hub.urls, repository, run, &pulls))
}

pub(super) async fn create(
    ctx: Context,
    Path((owner, repo)): Repo,
    Input(new): Input<Edit>,
) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let run = make(&ctx.hub, &ctx.caller, &repository, new).await?;
    Ok((StatusCode::CREATED, Json(render(&ctx, &repository, &run).await?)).into_response())
}

pub(super) async fn update(
    ctx: Context,
    Path((owner, repo, number)): One,
    Input(edit): Input<Edit>,
) -> Result<Json<Value>, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let run = change(&ctx.hub, &ctx.caller, &repository, id(&number)?, edit).await?;
    Ok(Json(render(&ctx, &repository, &run).await?))
}

async fn find(ctx: &Context, repository: &Repository, text: &str) -> Result<CheckRun> {
    let (repository, run) = (repository.id, id(text)?);
    ctx.hub.store.read(move |db| store::check_run(db, repository, run)).await?.ok_or(Error::NotFound)
}

pub(super) async fn get_one(ctx: Context, Path((owner, repo, id)): One) -> Result<Json<Value>, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let run = find(&ctx, &repository, &id).await?;
    Ok(Json(render(&ctx, &repository, &run).await?))
}

pub(super) async fn annotations(ctx: Context, Path((owner, repo, id)): One) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let run = find(&ctx, &repository, &id).await?;
    let shown = ctx.slice(run.fields.annotations);
    Ok(ctx.list(shown, |one| json::annotation(&ctx.hub.urls, &repository, &run.head_sha, one)))
}

pub(super) async fn rerequest(ctx: Context, Path((owner, repo, number)): One) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let user = ctx.require(&repository, Role::Write).await?;
    ctx.hub.press(&repository, &user, id(&number)?, None).await?;
    Ok((StatusCode::CREATED, Json(json!({}))).into_response())
}

/// The check runs of a commit, by name, status and whether only the newest count.
pub(super) async fn of_commit(ctx: &Context, repository: &Repository, sha: String) -> Result<Response> {
    let (id, latest) = (repository.id, ctx.param("filter") != Some("all"));
    let (runs, pulls) = ctx
        .hub
        .store
        .read(move |db| {
            let runs = store::check_runs(db, id, &sha, latest, store::Page::ALL)?;
            Ok((runs, store::issues_of_sha(db, id, &sha)?))
        })
        .await?;
    let wanted = |run: &CheckRun| {
        ctx.param("check_name").is_none_or(|name| run.fields.name == name)
            && ctx.param("status").is_none_or(|status| run.fields.status == status)
    };
    let runs: Vec<CheckRun> = runs.into_iter().filter(wanted).collect();
    let total = runs.len();
    let (runs, links) = ctx.cut(ctx.slice(runs));
    let runs: Vec<Value> = runs.iter().map(|run| json::check_run(&ctx.hub.urls, repository, run, &pulls)).collect();
    let body = json!({ "total_count": total, "check_runs": runs });
    Ok(linked(Json(body).into_response(), &links))
}

#[derive(Deserialize)]
pub(super) struct NewStatus {
    state: Option<String>,
    context: Option<String>,
    description: Option<String>,
    target_url: Option<String>,
}

pub(super) async fn create_status(
    ctx: Context,
    Path((owner, repo, sha)): One,
    Input(new): Input<NewStatus>,
) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let user = ctx.require(&repository, Role::Write).await?;
    let state = new.state.unwrap_or_default();
    if !["error", "failure", "pending", "success"].contains(&state.as_str()) {
        return Err(Error::field("Status", "state", "invalid").into());
    }
    let bare = ctx.hub.bare(&repository)?;
    if !names::is_sha(&sha) || bare.commit_of(&sha).await?.is_none() {
        return Err(Error::invalid(format!("No commit found for SHA: {sha}")).into());
    }
    let mut commit = json::commit(&ctx.hub.urls, &repository, &bare.commit(&sha).await?);
    if let Some(Value::Object(verification)) = commit.pointer_mut("/commit/verification") {
        // Told by REST only.
        verification.remove("verified_at");
    }
    let api = ctx.hub.urls.api(&repository);
    let tips = bare.branches().await?.into_iter().filter(|(_, tip)| *tip == sha).take(10);
    let branches: Vec<Value> = tips
        .map(|(name, sha)| {
            let url = format!("{api}/commits/{sha}");
            json!({ "name": name, "commit": { "sha": sha, "url": url }, "protected": false })
        })
        .collect();
    let name = repository.full_name();
    let status = store::NewStatus {
        sha: sha.clone(),
        state,
        context: new.context.unwrap_or_else(|| "default".to_owned()),
        description: new.description,
        target_url: new.target_url,
    };
    let scene = crate::events::Scene::new(&ctx.hub.urls, &repository, &user);
    let status = ctx
        .hub
        .change(move |db| {
            let made = store::create_status(db, scene.repository.id, &scene.sender, &status)?;
            let fields = json!({
                "id": made.id, "sha": status.sha, "state": made.state, "context": made.context,
                "description": made.description, "target_url": made.target_url, "name": name, "commit": commit, "branches": branches,
                "created_at": made.created_at, "updated_at": made.created_at,
            });
            scene.emit(db, "status", None, fields)?;
            Ok(made)
        })
        .await?;
    let body = json::status(&ctx.hub.urls, &repository, &sha, &status);
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// Every status of a commit, newest first.
pub(super) async fn statuses_of(ctx: &Context, repository: &Repository, sha: String) -> Result<Response> {
    let (id, page, wanted) = (repository.id, ctx.page(), sha.clone());
    let found = ctx.hub.store.read(move |db| store::statuses(db, id, &wanted, false, page)).await?;
    Ok(ctx.list(found, |status| json::status(&ctx.hub.urls, repository, &sha, status)))
}

/// What the statuses of a commit come to.
pub(super) async fn combined(ctx: &Context, repository: &Repository, sha: String) -> Result<Response> {
    let (id, wanted) = (repository.id, sha.clone());
    let found = ctx.hub.store.read(move |db| store::statuses(db, id, &wanted, true, store::Page::ALL)).await?;
    Ok(Json(json::combined_status(&ctx.hub.urls, repository, &sha, &found)).into_response())
}
