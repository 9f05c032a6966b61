//! Who calls, what for, and which page of it.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{FromRequestParts, OriginalUri, Query};
use axum::http::header::{AUTHORIZATION, LINK};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::json::encode;
use crate::model::{Repository, Role, User};
use crate::store::Page;

/// The token of a request: `Bearer`, `token`, or the password of `Basic`.
pub(crate) fn credentials(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, value) = value.split_once(' ')?;
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" | "token" => Some(value.trim().to_owned()),
        "basic" => {
            let decoded = String::from_utf8(BASE64_STANDARD.decode(value.trim()).ok()?).ok()?;
            let (user, password) = decoded.split_once(':')?;
            Some(if password.is_empty() || password == "x-oauth-basic" { user } else { password }.to_owned())
        }
        _ => Some(String::new()),
    }
}

/// What every handler needs.
pub(super) struct Context {
    pub(super) hub: Arc<Hub>,
    pub(super) caller: Caller,
    uri: Uri,
    writes: bool,
    params: HashMap<String, String>,
}

impl FromRequestParts<Arc<Hub>> for Context {
    type Rejection = super::respond::Answer;

    async fn from_request_parts(parts: &mut Parts, hub: &Arc<Hub>) -> Result<Self, Self::Rejection> {
        let OriginalUri(uri) = OriginalUri::from_request_parts(parts, hub).await.unwrap_or_else(|error| match error {});
        let params = Query::try_from_uri(&uri).map(|Query(params)| params).unwrap_or_default();
        let caller = parts.extensions.get::<Caller>().cloned().unwrap_or_default();
        let writes = !matches!(parts.method, Method::GET | Method::HEAD);
        Ok(Self { hub: hub.clone(), caller, uri, writes, params })
    }
}

impl Context {
    /// A query parameter, if it has a value.
    pub(super) fn param(&self, name: &str) -> Option<&str> {
        self.params.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A repository; one that is archived is only read.
    pub(super) async fn repository(&self, owner: &str, name: &str) -> Result<Repository> {
        let repository = self.hub.repository(owner, name).await?;
        if !self.caller.sees(&repository) {
            return Err(Error::NotFound);
        }
        if self.writes && repository.archived {
            return Err(Error::Forbidden("Repository was archived so is read-only.".to_owned()));
        }
        Ok(repository)
    }

    /// The caller, who must have shown a token.
    pub(super) fn user(&self) -> Result<User> {
        self.caller.user()
    }

    /// The caller, if it has at least that role in the repository.
    pub(super) async fn require(&self, repository: &Repository, role: Role) -> Result<User> {
        self.caller.require(&self.hub, repository, role).await
    }

    /// The page that was asked for: 30 entries unless told, at most 100.
    pub(super) fn page(&self) -> Page {
        let number = |name: &str| self.param(name).and_then(|value| value.parse::<u32>().ok()).filter(|&n| n > 0);
        Page { number: number("page").unwrap_or(1), size: number("per_page").unwrap_or(30).min(100) }
    }

    /// Cuts a list that is one longer than its page, and says where the neighbours are.
    pub(super) fn cut<T>(&self, mut found: Vec<T>) -> (Vec<T>, Vec<String>) {
        let page = self.page();
        let more = found.len() > page.size as usize;
        found.truncate(page.size as usize);
        let mut links = Vec::new();
        if page.number > 1 {
            links.push(self.link("prev", "page", &(page.number - 1).to_string()));
            links.push(self.link("first", "page", "1"));
        }
        if more {
            links.push(self.link("next", "page", &(page.number + 1).to_string()));
        }
        (found, links)
    }

    /// A whole list as the page of it that was asked for.
    pub(super) fn slice<T>(&self, all: Vec<T>) -> Vec<T> {
        let page = self.page();
        let skip = usize::try_from(page.offset()).unwrap_or(usize::MAX);
        all.into_iter().skip(skip).take(page.size as usize + 1).collect()
    }

    /// A list as an answer.
    pub(super) fn list<T>(&self, found: Vec<T>, render: impl FnMut(&T) -> Value) -> Response {
        let (found, links) = self.cut(found);
        let body: Vec<Value> = found.iter().map(render).collect();
        linked(axum::Json(body).into_response(), &links)
    }

    /// The same request with one parameter changed.
    pub(super) fn link(&self, rel: &str, name: &str, value: &str) -> String {
        let mut query = vec![format!("{name}={}", encode(value))];
        let mut others: Vec<_> = self.params.iter().filter(|(key, _)| key.as_str() != name).collect();
        others.sort();
        query.extend(others.into_iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))));
        format!("<{}{}?{}>; rel=\"{rel}\"", self.hub.urls.base(), self.uri.path(), query.join("&"))
    }
}

/// Adds the `Link` header.
pub(super) fn linked(mut response: Response, links: &[String]) -> Response {
    if let Ok(value) = links.join(", ").parse()
        && !links.is_empty()
    {
        response.headers_mut().insert(LINK, value);
    }
    response
}

/// A number in a path; anything else is no such thing.
pub(super) fn id(text: &str) -> Result<i64> {
    text.parse().map_err(|_| Error::NotFound)
}
