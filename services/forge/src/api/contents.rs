//! Files of a commit, one by one or as an archive.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{ACCEPT, CONTENT_DISPOSITION, CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};

use super::context::Context;
use super::respond::Answer;
use crate::error::{Error, Result};
use crate::git::{Entry, Kind};
use crate::hub::Hub;
use crate::model::Repository;
use crate::{json, names};

type Repo = Path<(String, String)>;
type One = Path<(String, String, String)>;

/// Most entries of a folder, as GitHub has it.
const ENTRIES: usize = 1000;

/// Where archives are downloaded from, without a token: clients drop theirs when they are sent elsewhere.
pub(super) fn downloads() -> Router<Arc<Hub>> {
    Router::new().route("/codeload/{owner}/{repo}/legacy.tar.gz/{sha}", get(download))
}

pub(super) async fn root(ctx: Context, Path((owner, repo)): Repo, headers: HeaderMap) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    Ok(read(&ctx, &repository, "", &headers).await?)
}

pub(super) async fn get_one(
    ctx: Context,
    Path((owner, repo, path)): One,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let path = names::tree_path(&path).ok_or(Error::NotFound)?;
    Ok(read(&ctx, &repository, path, &headers).await?)
}

async fn read(ctx: &Context, repository: &Repository, path: &str, headers: &HeaderMap) -> Result<Response> {
    let reference = ctx.param("ref").unwrap_or(&repository.default_branch);
    let sha = ctx.hub.commit_of(repository, reference).await?;
    let bare = ctx.hub.bare(repository)?;
    let entry = if path.is_empty() { None } else { bare.list(&sha, path, false).await?.into_iter().next() };
    let render =
        |entry: &Entry, bytes: Option<&[u8]>| json::content(&ctx.hub.urls, repository, reference, entry, bytes);
    match entry {
        None if !path.is_empty() => Err(Error::NotFound),
        Some(entry) if entry.kind == Kind::Submodule => Ok(Json(render(&entry, None)).into_response()),
        Some(entry) if entry.kind != Kind::Folder => {
            let bytes = bare.blob(&entry.sha).await?;
            let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
            if accept.contains(".raw") {
                // Never a type that a browser would run.
                let kind = [(CONTENT_TYPE, "application/vnd.github.raw+json; charset=utf-8")];
                return Ok((kind, bytes).into_response());
            }
            Ok(Json(render(&entry, Some(&bytes))).into_response())
        }
        _ => {
            let entries = bare.list(&sha, path, true).await?;
            let body: Vec<_> = entries.iter().take(ENTRIES).map(|entry| render(entry, None)).collect();
            Ok(Json(body).into_response())
        }
    }
}

pub(super) async fn default_tarball(ctx: Context, Path((owner, repo)): Repo) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let branch = repository.default_branch.clone();
    Ok(redirect(&ctx, &repository, &branch).await?)
}

pub(super) async fn tarball(ctx: Context, Path((owner, repo, reference)): One) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    Ok(redirect(&ctx, &repository, &reference).await?)
}

async fn redirect(ctx: &Context, repository: &Repository, reference: &str) -> Result<Response> {
    let sha = ctx.hub.commit_of(repository, reference).await?;
    let location = format!("{}/codeload/{}/legacy.tar.gz/{sha}", ctx.hub.urls.base(), repository.full_name());
    Ok((StatusCode::FOUND, [(LOCATION, location)]).into_response())
}

async fn download(State(hub): State<Arc<Hub>>, Path((owner, repo, sha)): One) -> Result<Response, Answer> {
    let repository = hub.repository(&owner, &repo).await?;
    let bare = hub.bare(&repository)?;
    if !names::is_sha(&sha) || bare.commit_of(&sha).await?.is_none() {
        return Err(Error::NotFound.into());
    }
    let top = format!("{}-{}-{}", repository.owner.login, repository.name, &sha[..7]);
    let stream = bare.archive(&sha, &top).await?;
    let headers = [
        (CONTENT_TYPE, "application/x-gzip".to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename={top}.tar.gz")),
    ];
    Ok((headers, Body::from_stream(stream)).into_response())
}
