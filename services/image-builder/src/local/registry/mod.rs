//! A small OCI registry (distribution specification 1.1, pull and push) with its content in a folder.
//! It has no access control: it is for loopback.

mod answer;
mod blobs;
mod manifests;
mod path;
mod storage;
mod uploads;

use std::{net::SocketAddr, path::Path};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{Method, StatusCode},
    response::Response,
};
use kfops_core::{Digest, Failure, Reason};
use tokio_util::sync::CancellationToken;

pub use self::storage::Storage;
use self::{
    answer::{Code, Refused, respond},
    path::Resource,
};
use crate::settings::EmbeddedRegistrySettings;

/// The embedded registry.
#[derive(Debug)]
pub struct Registry;

/// A running registry. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    /// Where it is served.
    pub addr: SocketAddr,
    storage: Storage,
}

impl Registry {
    /// Serves until `stop`. Port 0 picks a free one.
    pub async fn start(settings: &EmbeddedRegistrySettings, stop: CancellationToken) -> Result<Handle, Failure> {
        let storage = Storage::open(&settings.folder)?;
        let cannot = |error: std::io::Error| {
            Failure::new(
                Reason::RegistryUnavailable,
                format!("the embedded registry cannot listen on {}: {error}", settings.listen),
            )
            .action("choose another address with embedded_registry.listen")
        };
        let listener = tokio::net::TcpListener::bind(&settings.listen).await.map_err(cannot)?;
        let addr = listener.local_addr().map_err(cannot)?;
        let router = Router::new().fallback(serve).with_state(storage.clone());
        tokio::spawn(async move {
            let serving = axum::serve(listener, router).with_graceful_shutdown({
                let stop = stop.clone();
                async move { stop.cancelled().await }
            });
            tokio::select! {
                served = serving => if let Err(error) = served {
                    tracing::error!(%error, "embedded registry stopped");
                },
                () = async { stop.cancelled().await; tokio::time::sleep(std::time::Duration::from_secs(3)).await } => {}
            }
        });
        Ok(Handle { addr, storage })
    }
}

impl Handle {
    /// As it stands in image names: `127.0.0.1:5000`.
    #[must_use]
    pub fn host(&self) -> String {
        self.addr.to_string()
    }

    /// Puts a file of this machine in as a blob whose digest is known; linked, where the file system can.
    pub async fn import(&self, file: &Path, digest: &Digest) -> Result<(), Failure> {
        let (storage, file, digest) = (self.storage.clone(), file.to_owned(), digest.clone());
        tokio::task::spawn_blocking(move || storage.import(&file, &digest)).await.map_err(Failure::internal)?
    }

    /// Puts bytes in as a blob.
    pub async fn put_blob(&self, bytes: Vec<u8>) -> Result<Digest, Failure> {
        let storage = self.storage.clone();
        tokio::task::spawn_blocking(move || storage.put_bytes(&bytes)).await.map_err(Failure::internal)?
    }

    /// Puts a manifest under a tag.
    pub async fn put_manifest(
        &self,
        repository: &str,
        tag: &str,
        media_type: &str,
        bytes: Vec<u8>,
    ) -> Result<Digest, Failure> {
        let (storage, repository) = (self.storage.clone(), repository.to_owned());
        let (tag, media_type) = (tag.to_owned(), media_type.to_owned());
        tokio::task::spawn_blocking(move || storage.put_manifest(&repository, Some(&tag), &media_type, &bytes))
            .await
            .map_err(Failure::internal)?
    }

    /// The digest of the manifest under a tag.
    #[must_use]
    pub fn tag(&self, repository: &str, tag: &str) -> Option<Digest> {
        self.storage.tag(repository, tag)
    }
}

async fn serve(State(storage): State<Storage>, request: Request) -> Response {
    let head = request.method() == Method::HEAD;
    let response = route(storage, request).await.unwrap_or_else(Refused::into_response);
    if head { response.map(|_| Body::empty()) } else { response }
}

async fn route(storage: Storage, request: Request) -> Result<Response, Refused> {
    let (parts, body) = request.into_parts();
    let resource = path::parse(parts.uri.path())?;
    let method = parts.method.clone();
    match (resource, method) {
        (Resource::Api, Method::GET | Method::HEAD) => respond(StatusCode::OK, &[], "{}"),
        (Resource::Catalog, Method::GET) => manifests::catalog(&storage, &parts).await,
        (Resource::Tags(name), Method::GET) => manifests::tags(&storage, &name, &parts).await,
        (Resource::Referrers, Method::GET) => manifests::no_referrers(),
        (Resource::Manifest(name, reference), Method::GET | Method::HEAD) => {
            manifests::get(&storage, &name, &reference).await
        }
        (Resource::Manifest(name, reference), Method::PUT) => {
            manifests::put(&storage, &name, &reference, &parts, body).await
        }
        (Resource::Blob(digest), Method::GET | Method::HEAD) => blobs::get(&storage, &digest, &parts).await,
        (Resource::Uploads(name), Method::POST) => uploads::begin(&storage, &name, &parts, body).await,
        (Resource::Upload(name, id), Method::GET) => uploads::status(&storage, &name, &id).await,
        (Resource::Upload(name, id), Method::PATCH) => uploads::append(&storage, &name, &id, &parts, body).await,
        (Resource::Upload(name, id), Method::PUT) => uploads::finish(&storage, &name, &id, &parts, body).await,
        (Resource::Upload(_, id), Method::DELETE) => uploads::cancel(&storage, &id).await,
        _ => Err(Refused::new(StatusCode::METHOD_NOT_ALLOWED, Code::Unsupported, "this registry does not do that")),
    }
}
