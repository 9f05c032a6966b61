//! The page of a repository's environments: what was deployed where, and how it went.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Html;
use serde_json::{Value, json};

use super::view::web;
use super::{Page, render};
use crate::clock::ago;
use crate::error::Result;
use crate::hub::Hub;
use crate::store::{self, Deployment};

/// Most deployments that a page shows.
const DEPLOYMENTS: u32 = 100;

pub(super) async fn show(State(hub): State<Arc<Hub>>, Path((owner, repo)): Path<(String, String)>) -> Page {
    let repository = hub.repository(&owner, &repo).await?;
    let id = repository.id;
    let found = hub
        .store
        .read(move |db| {
            let page = store::Page { number: 1, size: DEPLOYMENTS };
            let all = store::deployments(db, id, None, None, page)?;
            let with = |one: Deployment| {
                let statuses = store::deployment_statuses(db, one.id, store::Page::ALL)?;
                Ok((one, statuses))
            };
            all.into_iter().map(with).collect::<Result<Vec<_>>>()
        })
        .await?;
    let mut environments: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (deployment, statuses) in &found {
        let rows = environments.entry(&deployment.environment).or_default();
        let mut row = row(deployment, statuses);
        // GitHub leaves older ones of production a success; which is the newest is what a reader wants to know.
        if row["state"] == "success" && rows.iter().any(|newer| newer["state"] == "success") {
            (row["state"], row["word"], row["url"]) = (json!("inactive"), json!("earlier success"), Value::Null);
        }
        rows.push(row);
    }
    let environments: Vec<Value> =
        environments.into_iter().map(|(name, rows)| json!({ "name": name, "rows": rows })).collect();
    let page = json!({
        "title": format!("Deployments · {}", repository.full_name()),
        "repository": repository.full_name(),
        "environments": environments,
    });
    Ok(Html(render("deployments.html", &page)?))
}

fn text<'a>(row: &'a Deployment, name: &str) -> Option<&'a str> {
    row.fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

fn row(deployment: &Deployment, statuses: &[Deployment]) -> Value {
    let newest = statuses.first();
    let state = newest.and_then(|status| text(status, "state")).unwrap_or("pending");
    // What became inactive still has the address of when it was live.
    let last = |name: &str| web(statuses.iter().find_map(|status| text(status, name)));
    // That something became inactive says nobody; what it came to before is worth more than what began it.
    let told = statuses.iter().find_map(|status| text(status, "description"));
    // One that was made for a commit, not for a branch, has its sha as ref.
    let branch = text(deployment, "ref").filter(|name| *name != deployment.sha);
    json!({
        "sha": deployment.sha.get(..7),
        "ref": branch,
        "description": told.or_else(|| text(deployment, "description")),
        "creator": deployment.creator.login,
        "ago": ago(newest.map_or(&deployment.created_at, |status| &status.created_at)),
        "state": state,
        "word": state.replace('_', " "),
        "url": if state == "inactive" { None } else { last("environment_url") },
        "log": last("log_url"),
    })
}
