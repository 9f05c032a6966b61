//! What a person does on a page: comment, approve, update, merge, close, press a button of a check.
//! Only from this machine, only from our own pages.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Form;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};
use axum::response::Redirect;
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use super::Sorry;
use crate::deliver::sign;
use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::model::{Repository, Role, User};
use crate::pulls::MergeOrder;
use crate::smart_http::is_local;

/// What the form says.
#[derive(Deserialize)]
pub(super) struct Fields {
    token: String,
    user: String,
    #[serde(default)]
    body: String,
    r#do: Option<String>,
    check: Option<i64>,
    press: Option<String>,
}

/// A value that only our own page of this pull request, or of whatever else has a form, knows.
pub(super) fn form_token(hub: &Hub, repository: &Repository, form: impl Display) -> String {
    sign(&hub.form_key, format!("{}#{form}", repository.id).as_bytes())
}

/// Whether the browser says that the form was on a page of ours.
fn same_origin(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let host = text(HOST.as_str()).unwrap_or_default();
    let origin = text(ORIGIN.as_str());
    let fits = |origin: String| origin.split_once("://").is_some_and(|(_, rest)| rest == host);
    origin.is_none_or(fits) && text("sec-fetch-site").is_none_or(|site| site == "same-origin")
}

/// The person who sends a form, if it comes from this machine and from our own page.
pub(super) async fn admit(
    hub: &Hub,
    peer: SocketAddr,
    headers: &HeaderMap,
    expected: &str,
    token: &str,
    login: &str,
) -> Result<User> {
    let genuine = bool::from(expected.as_bytes().ct_eq(token.as_bytes()));
    if !is_local(hub, peer, headers) || !same_origin(headers) || !genuine {
        let text = "This form works on this machine only, and only from the forge's own page.";
        return Err(Error::Forbidden(text.to_owned()));
    }
    hub.user(login).await?.filter(|user| !user.is_bot()).ok_or(Error::NotFound)
}

/// Refuses what the role of a user does not allow.
pub(super) fn needs(role: Role, user: &User, least: Role) -> Result<()> {
    if role >= least {
        return Ok(());
    }
    Err(Error::Forbidden(format!("{} may not do this: the role is {role}, {least} is needed.", user.login)))
}

pub(super) async fn act(
    State(hub): State<Arc<Hub>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path((owner, repo, number)): Path<(String, String, String)>,
    headers: HeaderMap,
    Form(fields): Form<Fields>,
) -> Result<Redirect, Sorry> {
    let repository = hub.repository(&owner, &repo).await?;
    let number: i64 = number.parse().map_err(|_| Error::NotFound)?;
    let expected = form_token(&hub, &repository, number);
    let user = admit(&hub, peer, &headers, &expected, &fields.token, &fields.user).await?;
    let anchor = carry_out(&hub, &repository, number, &user, &fields).await?;
    Ok(Redirect::to(&format!("/{}/pull/{number}{anchor}", repository.full_name())))
}

async fn carry_out(
    hub: &Arc<Hub>,
    repository: &Repository,
    number: i64,
    user: &User,
    fields: &Fields,
) -> Result<String> {
    let issue = hub.issue(repository, number).await?;
    let role = hub.role(repository, user).await?;
    let needs = |least: Role| needs(role, user, least);
    if let (Some(check), Some(press)) = (fields.check, &fields.press) {
        needs(Role::Write)?;
        // Without a button of the app's it is "Re-run".
        hub.press(repository, user, check, Some(press.as_str()).filter(|press| !press.is_empty())).await?;
        return Ok(String::new());
    }
    let action = fields.r#do.as_deref().unwrap_or("comment");
    let mut anchor = String::new();
    if action == "comment" || (!fields.body.trim().is_empty() && action != "approve") {
        let comment = hub.add_comment(repository, user, &issue, &fields.body).await?;
        anchor = format!("#issuecomment-{}", comment.id);
    }
    match action {
        "comment" => {}
        "approve" => {
            let pull = issue.pull.as_ref().ok_or(Error::NotFound)?;
            if issue.user.id == user.id {
                return Err(Error::invalid("Nobody approves a pull request of their own."));
            }
            let head = pull.head_sha.clone();
            hub.add_review(repository, user, &issue, "APPROVED", &fields.body, &head).await?;
        }
        "update" => {
            needs(Role::Write)?;
            hub.update_branch(repository, user, number, None).await?;
        }
        "merge" => {
            needs(Role::Write)?;
            hub.merge(repository, user, number, MergeOrder::default()).await?;
        }
        "close" | "reopen" => {
            if issue.user.id != user.id {
                needs(Role::Triage)?;
            }
            hub.set_open(repository, user, &issue, action == "reopen").await?;
        }
        _ => return Err(Error::NotFound),
    }
    Ok(anchor)
}
