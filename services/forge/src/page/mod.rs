//! Pages for people: repositories, pull requests, and a form to write a comment with. Rendered here, styled here,
//! with one small script of our own that refreshes the thread.

mod act;
mod deployments;
pub(crate) mod markdown;
mod open;
mod view;

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use minijinja::Environment;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::names;

/// Nothing but our own style and script; forms and requests go nowhere else; nobody frames us.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

static TEMPLATES: LazyLock<Result<Environment<'static>, minijinja::Error>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    templates.add_template("base.html", include_str!("templates/base.html"))?;
    templates.add_template("index.html", include_str!("templates/index.html"))?;
    templates.add_template("repository.html", include_str!("templates/repository.html"))?;
    templates.add_template("live.html", include_str!("templates/live.html"))?;
    templates.add_template("pull.html", include_str!("templates/pull.html"))?;
    templates.add_template("deployments.html", include_str!("templates/deployments.html"))?;
    templates.add_template("error.html", include_str!("templates/error.html"))?;
    Ok(templates)
});

pub(crate) fn router() -> Router<Arc<Hub>> {
    Router::new()
        .route("/", get(index))
        .route("/assets/forge.css", get(css))
        .route("/assets/thread.js", get(js))
        .route("/assets/avatar/{login}", get(avatar))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/{owner}/{repo}", get(open::repository))
        .route("/{owner}/{repo}/pulls", get(open::repository).post(open::open))
        .route("/{owner}/{repo}/deployments", get(deployments::show))
        .route("/{owner}/{repo}/pull/{number}", get(pull).post(act::act))
        .route("/{owner}/{repo}/issues/{number}", get(pull).post(act::act))
        .route("/{owner}/{repo}/pull/{number}/thread", get(thread))
        .route("/{owner}/{repo}/pull/{number}/act", post(act::act))
        .layer(from_fn(guard))
}

/// Headers of every page.
async fn guard(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

/// A page instead of an error.
pub(crate) struct Sorry(Error);

impl From<Error> for Sorry {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Sorry {
    fn into_response(self) -> Response {
        let (status, title, message) = match self.0 {
            Error::NotFound => (StatusCode::NOT_FOUND, "Not found", "The forge has no such page.".to_owned()),
            Error::Internal(text) => {
                tracing::error!(error = text, "page failed");
                (StatusCode::INTERNAL_SERVER_ERROR, "Something failed", "The forge's log says what.".to_owned())
            }
            Error::Forbidden(text) => (StatusCode::FORBIDDEN, "Not allowed", text),
            other => (StatusCode::BAD_REQUEST, "That did not work", other.into_failure("").message),
        };
        match render("error.html", &json!({ "title": title, "message": message })) {
            Ok(html) => (status, Html(html)).into_response(),
            Err(_) => (status, title).into_response(),
        }
    }
}

fn render(name: &str, values: &Value) -> Result<String> {
    let templates = TEMPLATES.as_ref().map_err(Error::internal)?;
    templates
        .get_template(name)
        .and_then(|template| template.render(minijinja::value::Serde(values)))
        .map_err(Error::internal)
}

type Page = Result<Html<String>, Sorry>;

async fn index(State(hub): State<Arc<Hub>>) -> Page {
    Ok(Html(render("index.html", &view::index(&hub).await?)?))
}

type One = Path<(String, String, String)>;

async fn show(hub: &Hub, path: &(String, String, String), local: bool, files: bool) -> Result<Value> {
    let repository = hub.repository(&path.0, &path.1).await?;
    let number = path.2.parse().map_err(|_| Error::NotFound)?;
    view::thread(hub, &repository, number, local, files).await
}

async fn pull(
    State(hub): State<Arc<Hub>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(path): One,
    headers: HeaderMap,
) -> Page {
    let local = crate::smart_http::is_local(&hub, peer, &headers);
    Ok(Html(render("pull.html", &show(&hub, &path, local, true).await?)?))
}

/// The part that refreshes itself.
async fn thread(
    State(hub): State<Arc<Hub>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(path): One,
    headers: HeaderMap,
) -> Result<Response, Sorry> {
    let local = crate::smart_http::is_local(&hub, peer, &headers);
    let html = render("live.html", &show(&hub, &path, local, false).await?)?;
    let etag = format!("\"{}\"", hex::encode(Sha256::digest(html.as_bytes())));
    if headers.get(IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes()) {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    Ok(([(ETAG, etag)], Html(html)).into_response())
}

async fn css() -> Response {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("assets/forge.css")).into_response()
}

async fn js() -> Response {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("assets/thread.js")).into_response()
}

/// A disc with the first letter of a login, in a colour of its own.
async fn avatar(Path(login): Path<String>) -> Result<Response, Sorry> {
    if !names::is_login(&login) {
        return Err(Error::NotFound.into());
    }
    let hue = u32::from(Sha256::digest(login.to_lowercase().as_bytes())[0]) * 360 / 256;
    let letter = login.chars().next().unwrap_or('?').to_ascii_uppercase();
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 48 48\"><rect width=\"48\" height=\"48\" \
         fill=\"hsl({hue} 55% 45%)\"/><text x=\"24\" y=\"33\" font-family=\"sans-serif\" font-size=\"26\" \
         text-anchor=\"middle\" fill=\"#fff\">{letter}</text></svg>"
    );
    let headers = [(CONTENT_TYPE, "image/svg+xml"), (CACHE_CONTROL, "max-age=86400")];
    Ok((headers, svg).into_response())
}
