//! Opens pull requests on the repository's page: branches that have something to merge, and the form for it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Form;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::act::{admit, form_token, needs};
use super::{Page, Sorry, render, view};
use crate::clock::{ago, from_unix};
use crate::error::{Error, Result};
use crate::git::Tip;
use crate::hub::Hub;
use crate::model::{Issue, Repository, Role, User};
use crate::pulls::{NewPull, TITLE_LIMIT};
use crate::smart_http::is_local;
use crate::{names, store};

/// Most branches that a page offers.
const OFFERS: usize = 30;
/// What the form's token is for; no pull request has such a number.
const FORM: &str = "pulls";

/// What the form says.
#[derive(Deserialize)]
pub(super) struct Fields {
    token: String,
    user: String,
    head: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    body: String,
}

type Repo = Path<(String, String)>;

/// The page of a repository.
pub(super) async fn repository(
    State(hub): State<Arc<Hub>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path((owner, repo)): Repo,
    headers: HeaderMap,
) -> Page {
    let repository = hub.repository(&owner, &repo).await?;
    Ok(show(&hub, &repository, is_local(&hub, peer, &headers), None).await?)
}

/// Takes the form, and leads to the new pull request or back to the form.
pub(super) async fn open(
    State(hub): State<Arc<Hub>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path((owner, repo)): Repo,
    headers: HeaderMap,
    Form(fields): Form<Fields>,
) -> Result<Response, Sorry> {
    let repository = hub.repository(&owner, &repo).await?;
    let expected = form_token(&hub, &repository, FORM);
    let user = admit(&hub, peer, &headers, &expected, &fields.token, &fields.user).await?;
    // Goes on when the browser hangs up, as it does on a double click.
    let work = {
        let new = NewPull {
            title: fields.title.clone(),
            body: Some(fields.body.clone()).filter(|body| !body.trim().is_empty()),
            head: fields.head.clone(),
            base: repository.default_branch.clone(),
            draft: false,
        };
        let (hub, repository) = (hub.clone(), repository.clone());
        async move { open_as(&hub, &repository, &user, new).await }
    };
    let error = match tokio::spawn(work).await.map_err(Error::internal)? {
        Ok(issue) => {
            let target = format!("/{}/pull/{}", repository.full_name(), issue.number);
            return Ok(Redirect::to(&target).into_response());
        }
        Err(error @ (Error::Internal(_) | Error::NotFound)) => return Err(error.into()),
        Err(error) => error,
    };
    let status = match error {
        Error::Forbidden(_) => StatusCode::FORBIDDEN,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let problem = explain(&hub, &repository, &fields, error).await?;
    Ok((status, show(&hub, &repository, true, Some((&fields, problem))).await?).into_response())
}

async fn open_as(hub: &Arc<Hub>, repository: &Repository, user: &User, new: NewPull) -> Result<Issue> {
    needs(hub.role(repository, user).await?, user, Role::Read)?;
    hub.open_pull(repository, user, new).await
}

/// Why the form was refused, in words for a person instead of GitHub's codes.
async fn explain(hub: &Hub, repository: &Repository, fields: &Fields, error: Error) -> Result<String> {
    if !matches!(error, Error::Invalid(..)) {
        return Ok(error.into_failure("").message);
    }
    if fields.title.trim().is_empty() {
        return Ok("A pull request needs a title.".to_owned());
    }
    let branches = hub.bare(repository)?.branches().await?;
    for name in [&fields.head, &repository.default_branch] {
        if !branches.contains_key(name) {
            return Ok(format!("The branch {name} is gone. Push it, then open the pull request."));
        }
    }
    Ok(error.into_failure("").message)
}

async fn show(
    hub: &Hub,
    repository: &Repository,
    local: bool,
    attempt: Option<(&Fields, String)>,
) -> Result<Html<String>> {
    let mut page = view::repository(hub, repository).await?;
    let id = repository.id;
    let (people, open) = hub.store.read(move |db| Ok((view::people(db, id)?, store::open_pulls(db, id)?))).await?;
    let bare = hub.bare(repository)?;
    let base = bare.branches().await?.remove(&repository.default_branch);
    let mut tips = match &base {
        Some(base) => bare.unmerged(base).await?,
        None => Vec::new(),
    };
    let taken =
        |name: &str| open.iter().any(|issue| issue.pull.as_ref().is_some_and(|pull| pull.comes_from(None, name)));
    tips.retain(|tip| names::is_ref(&tip.branch) && !taken(&tip.branch));
    let (fields, problem) = attempt.unzip();
    let wanted = fields.map(|fields| fields.user.as_str());
    let is_here = |login: &&str| people.iter().any(|(user, _)| user.login == *login);
    let first = people.first().map(|(user, _)| user.login.as_str());
    let person = wanted.or(Some(hub.settings.local_user.as_str())).filter(is_here).or(first);
    page["born"] = base.is_some().into();
    page["problem"] = problem.into();
    page["writable"] = (local && person.is_some()).into();
    page["person"] = person.into();
    page["people"] = view::choices(&people);
    page["token"] = form_token(hub, repository, FORM).into();
    page["title_limit"] = TITLE_LIMIT.into();
    page["more"] = tips.len().saturating_sub(OFFERS).into();
    page["offers"] = tips.iter().take(OFFERS).map(|tip| offer(tip, fields)).collect();
    Ok(Html(render("repository.html", &page)?))
}

/// One branch with its form, filled with what was sent for it before or with its newest commit.
fn offer(tip: &Tip, fields: Option<&Fields>) -> Value {
    let sent = fields.filter(|fields| fields.head == tip.branch);
    let subject: String = tip.subject.chars().take(TITLE_LIMIT).collect();
    json!({
        "branch": tip.branch,
        "subject": subject,
        "ago": ago(&from_unix(tip.committed)),
        "open": sent.is_some(),
        "title": sent.map_or(subject.as_str(), |fields| fields.title.as_str()),
        "body": sent.map(|fields| fields.body.as_str()),
    })
}
