//! Commits, refs and comparisons.

use axum::Json;
use axum::extract::Path;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::checks;
use super::context::{Context, linked};
use super::respond::Answer;
use crate::error::Error;
use crate::{json, names, node_id};

type Repo = Path<(String, String)>;
type One = Path<(String, String, String)>;

/// Most commits of a comparison.
const COMMITS: usize = 250;

pub(super) async fn list(ctx: Context, Path((owner, repo)): Repo) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let bare = ctx.hub.bare(&repository)?;
    let sha = ctx.hub.commit_of(&repository, ctx.param("sha").unwrap_or(&repository.default_branch)).await?;
    let page = ctx.page();
    let skip = usize::try_from(page.offset()).unwrap_or(usize::MAX);
    let found = bare.recent(&sha, skip, page.size as usize + 1).await?;
    Ok(ctx.list(found, |commit| json::commit(&ctx.hub.urls, &repository, commit)))
}

/// A commit, or what hangs on it: a ref may have slashes, so that the end of the path decides.
pub(super) async fn get_under(
    ctx: Context,
    Path((owner, repo, rest)): One,
    headers: HeaderMap,
) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    if let Some((name, what)) = rest.rsplit_once('/')
        && ["check-runs", "status", "statuses", "pulls"].contains(&what)
    {
        let sha = ctx.hub.commit_of(&repository, name).await?;
        return Ok(match what {
            "check-runs" => checks::of_commit(&ctx, &repository, sha).await?,
            "status" => checks::combined(&ctx, &repository, sha).await?,
            "statuses" => checks::statuses_of(&ctx, &repository, sha).await?,
            _ => {
                let id = repository.id;
                let found = ctx.hub.store.read(move |db| crate::store::issues_of_sha(db, id, &sha)).await?;
                ctx.list(ctx.slice(found), |issue| match &issue.pull {
                    Some(pull) => json::pull(&ctx.hub.urls, &repository, issue, pull, None),
                    None => Value::Null,
                })
            }
        });
    }
    let missing = || Error::invalid(format!("No commit found for SHA: {rest}"));
    let bare = ctx.hub.bare(&repository)?;
    let sha = bare.commit_of(&rest).await?.ok_or_else(missing)?;
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains(".sha") {
        return Ok(([(CONTENT_TYPE, "application/vnd.github.sha; charset=utf-8")], sha).into_response());
    }
    let commit = bare.commit(&sha).await?;
    let changes = bare.changes(commit.parents.first().map(String::as_str), &sha, true).await?;
    let (additions, deletions) =
        changes.iter().fold((0, 0), |(plus, minus), change| (plus + change.additions, minus + change.deletions));
    let mut body = json::commit(&ctx.hub.urls, &repository, &commit);
    body["stats"] = json!({ "additions": additions, "deletions": deletions, "total": additions + deletions });
    body["files"] = changes.iter().map(|change| json::file(&ctx.hub.urls, &repository, &sha, change)).collect();
    Ok(Json(body).into_response())
}

pub(super) async fn reference(ctx: Context, Path((owner, repo, name)): One) -> Result<Json<Value>, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let known = name.starts_with("heads/") || name.starts_with("tags/") || name.starts_with("pull/");
    if !names::is_ref(&name) || !known {
        return Err(Error::NotFound.into());
    }
    let full = format!("refs/{name}");
    let (sha, kind) = ctx.hub.bare(&repository)?.object_of(&full).await?.ok_or(Error::NotFound)?;
    let api = ctx.hub.urls.api(&repository);
    Ok(Json(json!({
        "ref": full,
        "node_id": node_id::in_git("REF", repository.id, &full),
        "url": format!("{api}/git/{}", json::encode(&full)),
        "object": { "type": kind, "sha": sha, "url": format!("{api}/git/{kind}s/{sha}") },
    })))
}

pub(super) async fn compare(ctx: Context, Path((owner, repo, range)): One) -> Result<Response, Answer> {
    let repository = ctx.repository(&owner, &repo).await?;
    let (base, head) = range.split_once("...").ok_or(Error::NotFound)?;
    // `owner:branch` names the same repository here.
    let own = |name: &str| match name.split_once(':') {
        Some((other, branch)) if other.eq_ignore_ascii_case(&repository.owner.login) => branch.to_owned(),
        _ => name.to_owned(),
    };
    let base = ctx.hub.commit_of(&repository, &own(base)).await?;
    let head = ctx.hub.commit_of(&repository, &own(head)).await?;
    let bare = ctx.hub.bare(&repository)?;
    let Some(merge_base) = bare.merge_base(&base, &head).await? else {
        return Err(Error::NotFound.into());
    };
    let counts = bare.ahead_behind(&base, &head).await?;
    let commits = bare.commits(&base, &head, COMMITS).await?;
    let (commits, links) = match ctx.param("page").or(ctx.param("per_page")) {
        Some(_) => ctx.cut(ctx.slice(commits)),
        None => (commits, Vec::new()),
    };
    let files = bare.changes(Some(&merge_base), &head, true).await?;
    let (base, head, merge_base) =
        (bare.commit(&base).await?, bare.commit(&head).await?, bare.commit(&merge_base).await?);
    let body = json::comparison(&ctx.hub.urls, &repository, (&base, &head, &merge_base), counts, &commits, &files);
    Ok(linked(Json(body).into_response(), &links))
}
