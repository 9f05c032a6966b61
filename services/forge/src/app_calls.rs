//! Apps: who calls as one, where one is installed, and its webhook.
//!
//! An app is a user whose login ends in `[bot]`. `authenticated_app` and `installation_of` are the only places that
//! decide who the app is and which installation it has.

use axum::http::request::Parts;

use crate::api::Caller;
use crate::error::{Error, Result};
use crate::model::User;

/// The app behind a request to `/app/...`, or 401: here, whoever called with a token of an app.
pub(crate) fn authenticated_app(parts: &Parts) -> Result<User> {
    match parts.extensions.get::<Caller>() {
        Some(Caller(Some(user))) if user.is_bot() => Ok(user.clone()),
        _ => Err(Error::AuthenticationRequired),
    }
}

/// The installation of an app: one, for all repositories.
pub(crate) fn installation_of(app: i64) -> i64 {
    app
}
