//! Clones and pushes over HTTP, as `git` does them.

use std::collections::HashMap;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HOST, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use futures::TryStreamExt as _;
use tokio_util::io::StreamReader;

use crate::api::{Answer, credentials};
use crate::error::{Error, Result};
use crate::git::Service;
use crate::hub::Hub;
use crate::model::{Repository, Role, User};
use crate::store;

/// Largest list of wants and haves.
const FETCH_LIMIT: usize = 16 << 20;
/// Largest request once it is unpacked.
const UNPACKED_LIMIT: u64 = 64 << 20;

pub(crate) fn router() -> Router<Arc<Hub>> {
    Router::new()
        .route("/{owner}/{repo}/info/refs", get(advertise))
        .route("/{owner}/{repo}/git-upload-pack", post(upload))
        .route("/{owner}/{repo}/git-receive-pack", post(receive))
}

type Repo = Path<(String, String)>;

/// Whether a request comes from this machine and is meant for it: a page elsewhere that lures a browser here
/// under a name of its own is not.
pub(crate) fn is_local(hub: &Hub, peer: SocketAddr, headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
    let own = hub.urls.base().split_once("://").is_some_and(|(_, rest)| rest == host);
    hub.settings.trust_loopback
        && peer.ip().to_canonical().is_loopback()
        && (own || matches!(name, "127.0.0.1" | "localhost" | "[::1]"))
}

async fn find(hub: &Hub, owner: &str, repo: &str) -> Result<Repository> {
    hub.repository(owner, repo.strip_suffix(".git").unwrap_or(repo)).await
}

/// Who pushes: the token's user, or the local user on this machine.
async fn pusher(hub: &Hub, repository: &Repository, peer: SocketAddr, headers: &HeaderMap) -> Result<User> {
    if repository.archived {
        return Err(Error::Forbidden("This repository was archived so it is read-only.".to_owned()));
    }
    let user = match credentials(headers) {
        Some(token) => {
            let caller = hub.identify(token).await?;
            if !caller.sees(repository) {
                return Err(Error::NotFound);
            }
            caller.user()?
        }
        None if is_local(hub, peer, headers) => {
            let login = hub.settings.local_user.clone();
            let known = hub.user(&login).await?;
            return match known {
                Some(user) => Ok(user),
                None => hub.store.write(move |db| store::create_user(db, &login, Role::Write)).await,
            };
        }
        None => return Err(Error::AuthenticationRequired),
    };
    if hub.role(repository, &user).await? < Role::Write {
        let text = format!("Permission to {} denied to {}.", repository.full_name(), user.login);
        return Err(Error::Forbidden(text));
    }
    Ok(user)
}

/// A refusal that git understands: 401 makes it ask for a password, other texts it shows.
fn refuse(error: Error) -> Response {
    match error {
        Error::AuthenticationRequired | Error::BadCredentials => {
            let headers = [(WWW_AUTHENTICATE, "Basic realm=\"forge\"")];
            (StatusCode::UNAUTHORIZED, headers, "a token is needed\n").into_response()
        }
        Error::Forbidden(text) => (StatusCode::FORBIDDEN, format!("{text}\n")).into_response(),
        Error::NotFound => (StatusCode::NOT_FOUND, "Repository not found.\n").into_response(),
        other => Answer::from(other).into_response(),
    }
}

fn protocol(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("git-protocol")?.to_str().ok()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'=' | b':' | b'-');
    (value.len() <= 64 && value.bytes().all(plain)).then(|| value.to_owned())
}

async fn advertise(
    State(hub): State<Arc<Hub>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path((owner, repo)): Repo,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let work = async {
        let service = query.get("service").and_then(|name| Service::parse(name));
        let service = service.ok_or_else(|| Error::Forbidden("only smart HTTP is spoken here".to_owned()))?;
        let repository = find(&hub, &owner, &repo).await?;
        if service == Service::ReceivePack {
            pusher(&hub, &repository, peer, &headers).await?;
        }
        let refs = hub.bare(&repository)?.advertise(service, protocol(&headers).as_deref()).await?;
        let first = format!("# service={}\n", service.as_str());
        let mut body = format!("{:04x}{first}0000", first.len() + 4).into_bytes();
        body.extend(refs);
        let kind = format!("application/x-{}-advertisement", service.as_str());
        Ok(([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache".to_owned())], body).into_response())
    };
    work.await.unwrap_or_else(refuse)
}

/// A form or a script of another site cannot send this type without asking first.
fn check_type(headers: &HeaderMap, service: Service) -> Result<()> {
    let expected = format!("application/x-{}-request", service.as_str());
    let given = headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
    if given == Some(expected.as_bytes()) { Ok(()) } else { Err(Error::BadRequest(format!("{expected} expected"))) }
}

fn is_gzip(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_ENCODING).is_some_and(|value| matches!(value.as_bytes(), b"gzip" | b"x-gzip"))
}

async fn whole(headers: &HeaderMap, body: Body) -> Result<Vec<u8>> {
    let too_large = || Error::TooLarge("the request is too large".to_owned());
    let bytes: Bytes = to_bytes(body, FETCH_LIMIT).await.map_err(|_| too_large())?;
    if !is_gzip(headers) {
        return Ok(bytes.to_vec());
    }
    let mut plain = Vec::new();
    let mut reader = flate2::read::MultiGzDecoder::new(bytes.as_ref()).take(UNPACKED_LIMIT + 1);
    reader.read_to_end(&mut plain).map_err(|_| Error::BadRequest("the request is no gzip".to_owned()))?;
    if plain.len() as u64 > UNPACKED_LIMIT { Err(too_large()) } else { Ok(plain) }
}

async fn upload(State(hub): State<Arc<Hub>>, Path((owner, repo)): Repo, headers: HeaderMap, body: Body) -> Response {
    let work = async {
        check_type(&headers, Service::UploadPack)?;
        let repository = find(&hub, &owner, &repo).await?;
        let request = whole(&headers, body).await?;
        let stream = hub.bare(&repository)?.upload_pack(request, protocol(&headers).as_deref()).await?;
        let headers = [(CONTENT_TYPE, "application/x-git-upload-pack-result"), (CACHE_CONTROL, "no-cache")];
        Ok((headers, Body::from_stream(stream)).into_response())
    };
    work.await.unwrap_or_else(refuse)
}

/// Takes a push, and answers once its pull requests are up to date. Goes on when the client hangs up after sending.
async fn receive(
    State(hub): State<Arc<Hub>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path((owner, repo)): Repo,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let work = async move {
        check_type(&headers, Service::ReceivePack)?;
        let repository = find(&hub, &owner, &repo).await?;
        let user = pusher(&hub, &repository, peer, &headers).await?;
        let (bare, protocol, max) = (hub.bare(&repository)?, protocol(&headers), hub.settings.max_push);
        let report = if is_gzip(&headers) {
            let request = whole(&headers, body).await?;
            bare.receive_pack(request.as_slice(), protocol.as_deref(), max).await
        } else {
            let stream = body.into_data_stream().map_err(std::io::Error::other);
            bare.receive_pack(StreamReader::new(Box::pin(stream)), protocol.as_deref(), max).await
        };
        hub.sync(&repository, &user).await?;
        report
    };
    let report = match tokio::spawn(work).await {
        Ok(report) => report,
        Err(error) => Err(Error::internal(error)),
    };
    match report {
        Ok(report) => {
            let headers = [(CONTENT_TYPE, "application/x-git-receive-pack-result"), (CACHE_CONTROL, "no-cache")];
            (headers, report).into_response()
        }
        Err(error) => refuse(error),
    }
}
