//! Calls to `/app/...`, and which installation of an App a webhook speaks for.
//!
//! The webhook of an App belongs to its bot, so that a bot with a token of its own can have one where
//! `bot_tokens_are_apps`.

use axum::http::request::Parts;
use rusqlite::Connection;

use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::jwt;
use crate::model::{Repository, User};
use crate::store;

/// The bot of the App that signed a request to `/app/...`, or 401.
pub(crate) fn authenticated_app(hub: &Hub, parts: &Parts) -> Result<User> {
    let caller = parts.extensions.get::<Caller>().cloned().unwrap_or_default();
    match (caller.app, caller.user) {
        (Some(app), _) => Ok(app.bot),
        (None, Some(bot)) if bot.is_bot() && caller.grant.is_none() && hub.settings.bot_tokens_are_apps => Ok(bot),
        _ => Err(Error::Unauthorized(jwt::UNREADABLE.to_owned())),
    }
}

/// The installation of an App that is for a repository; none if it is not installed there. A bot without an App is
/// installed everywhere, under its own id.
pub(crate) fn installation_of(db: &Connection, bot: i64, repository: &Repository) -> Result<Option<i64>> {
    match store::app_of_bot(db, bot)? {
        None => Ok(Some(bot)),
        Some(app) => {
            let all = store::installations(db, app.id)?;
            Ok(all.into_iter().find(|one| one.covers(repository)).map(|one| one.id))
        }
    }
}
