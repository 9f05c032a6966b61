//! Apps, their installations and tokens as JSON.

use serde_json::{Value, json};

use super::{Urls, node, repository, user};
use crate::model::Repository;
use crate::store::{App, Installation, Permissions};

/// An App.
pub(crate) fn app(urls: &Urls, app: &App, installations: usize) -> Value {
    json!({
        "id": app.id,
        "slug": app.slug,
        "node_id": node("A", app.id),
        "owner": user(urls, &app.owner),
        "name": app.slug,
        "description": null,
        "external_url": urls.base(),
        "html_url": format!("{}/apps/{}", urls.base(), app.slug),
        "permissions": app.permissions,
        "events": app.events,
        "created_at": app.created_at,
        "updated_at": app.created_at,
        "installations_count": installations,
    })
}

/// `all` or `selected`.
pub(crate) fn selection(installation: &Installation) -> &'static str {
    if installation.selected.is_some() { "selected" } else { "all" }
}

/// An App at an owner's repositories.
pub(crate) fn installation(urls: &Urls, app: &App, installation: &Installation) -> Value {
    let (base, id) = (urls.base(), installation.id);
    json!({
        "id": id,
        "account": user(urls, &installation.account),
        "repository_selection": selection(installation),
        "access_tokens_url": format!("{base}/app/installations/{id}/access_tokens"),
        "repositories_url": format!("{base}/installation/repositories"),
        "html_url": format!("{base}/settings/installations/{id}"),
        "app_id": app.id,
        "app_slug": app.slug,
        "target_id": installation.account.id,
        "target_type": "User",
        "permissions": app.permissions,
        "events": app.events,
        "created_at": installation.created_at,
        "updated_at": installation.created_at,
        "single_file_name": null,
        "suspended_by": null,
        "suspended_at": null,
    })
}

/// The token of an installation, told once.
pub(crate) fn installation_token(
    urls: &Urls,
    token: &str,
    expires_at: &str,
    permissions: &Permissions,
    limited: Option<&[Repository]>,
) -> Value {
    let mut value = json!({
        "token": token,
        "expires_at": expires_at,
        "permissions": permissions,
        "repository_selection": if limited.is_some() { "selected" } else { "all" },
    });
    if let Some(limited) = limited {
        value["repositories"] = limited.iter().map(|one| repository(urls, one, None)).collect();
    }
    value
}
