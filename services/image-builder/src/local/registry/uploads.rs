//! Pushing blobs: at once, in one stream, in chunks, or mounted from another repository.

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, request::Parts},
    response::Response,
};
use futures::StreamExt as _;
use kfops_core::Digest;
use tokio::{fs::File, io::AsyncWriteExt as _};
use uuid::Uuid;

use super::{
    Storage,
    answer::{Code, Refused, query, respond},
    path,
};

/// Largest blob.
const MAX_BLOB: u64 = 64 << 30;

pub(super) async fn begin(storage: &Storage, name: &str, parts: &Parts, body: Body) -> Result<Response, Refused> {
    // Blobs are shared by all repositories, so a mount needs nothing but the blob.
    if let Some(mount) = query(parts, "mount").and_then(|text| Digest::parse(&text).ok())
        && storage.blob_path(&mount).exists()
    {
        return created(name, &mount);
    }
    let id = Uuid::new_v4();
    let upload = storage.upload_path(&id);
    File::create_new(&upload).await?;
    if let Some(digest) = query(parts, "digest") {
        let digest = path::digest(&digest)?;
        write(&upload, None, body).await?;
        return commit(storage, name, &id, digest).await;
    }
    progress(StatusCode::ACCEPTED, name, &id, 0)
}

pub(super) async fn status(storage: &Storage, name: &str, id: &Uuid) -> Result<Response, Refused> {
    let size = tokio::fs::metadata(storage.upload_path(id)).await.map_err(unknown)?.len();
    progress(StatusCode::NO_CONTENT, name, id, size)
}

pub(super) async fn append(
    storage: &Storage,
    name: &str,
    id: &Uuid,
    parts: &Parts,
    body: Body,
) -> Result<Response, Refused> {
    let start = content_range_start(&parts.headers)?;
    let size = write(&storage.upload_path(id), start, body).await?;
    progress(StatusCode::ACCEPTED, name, id, size)
}

pub(super) async fn finish(
    storage: &Storage,
    name: &str,
    id: &Uuid,
    parts: &Parts,
    body: Body,
) -> Result<Response, Refused> {
    let digest = query(parts, "digest")
        .ok_or_else(|| Refused::new(StatusCode::BAD_REQUEST, Code::DigestInvalid, "the digest is missing"))?;
    let digest = path::digest(&digest)?;
    let start = content_range_start(&parts.headers)?;
    write(&storage.upload_path(id), start, body).await?;
    commit(storage, name, id, digest).await
}

pub(super) async fn cancel(storage: &Storage, id: &Uuid) -> Result<Response, Refused> {
    tokio::fs::remove_file(storage.upload_path(id)).await.map_err(unknown)?;
    respond(StatusCode::NO_CONTENT, &[], Body::empty())
}

/// Appends; the new size. Two at a time would mix their bytes, so the second is refused.
async fn write(upload: &std::path::Path, start: Option<u64>, body: Body) -> Result<u64, Refused> {
    let file = std::fs::OpenOptions::new().append(true).open(upload).map_err(unknown)?;
    let busy = |_| Refused::new(StatusCode::CONFLICT, Code::BlobUploadInvalid, "the upload is being written already");
    file.try_lock().map_err(busy)?;
    let mut size = file.metadata()?.len();
    if start.is_some_and(|start| start != size) {
        let message = format!("the upload has {size} bytes, go on from there");
        return Err(Refused::new(StatusCode::RANGE_NOT_SATISFIABLE, Code::BlobUploadInvalid, message));
    }
    let mut file = File::from_std(file);
    let mut stream = body.into_data_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| {
            Refused::new(StatusCode::BAD_REQUEST, Code::BlobUploadInvalid, format!("the upload broke off: {error}"))
        })?;
        size += chunk.len() as u64;
        if size > MAX_BLOB {
            return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, Code::BlobUploadInvalid, "the blob is too large"));
        }
        file.write_all(&chunk).await?;
    }
    file.flush().await?;
    Ok(size)
}

async fn commit(storage: &Storage, name: &str, id: &Uuid, digest: Digest) -> Result<Response, Refused> {
    let (owned, upload, expected) = (storage.clone(), storage.upload_path(id), digest.clone());
    let matches = tokio::task::spawn_blocking(move || owned.commit(&upload, &expected))
        .await
        .map_err(|error| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown, error.to_string()))??;
    if !matches {
        return Err(Refused::new(StatusCode::BAD_REQUEST, Code::DigestInvalid, "the bytes have another digest"));
    }
    created(name, &digest)
}

fn content_range_start(headers: &HeaderMap) -> Result<Option<u64>, Refused> {
    let Some(value) = headers.get("content-range") else { return Ok(None) };
    let wrong = || Refused::new(StatusCode::BAD_REQUEST, Code::BlobUploadInvalid, "content-range is not <start>-<end>");
    let text = value.to_str().map_err(|_| wrong())?;
    // The specification says `<start>-<end>`; some clients write `bytes <start>-<end>/<size>`.
    let start = text.trim_start_matches("bytes ").split('-').next().unwrap_or_default();
    start.parse().map(Some).map_err(|_| wrong())
}

fn created(name: &str, digest: &Digest) -> Result<Response, Refused> {
    let location = format!("/v2/{name}/blobs/{digest}");
    let headers = [("location", location.as_str()), ("docker-content-digest", digest.as_str())];
    respond(StatusCode::CREATED, &headers, Body::empty())
}

fn progress(status: StatusCode, name: &str, id: &Uuid, size: u64) -> Result<Response, Refused> {
    let location = format!("/v2/{name}/blobs/uploads/{id}");
    let (range, id) = (format!("0-{}", size.saturating_sub(1)), id.to_string());
    let headers = [("location", location.as_str()), ("range", range.as_str()), ("docker-upload-uuid", id.as_str())];
    respond(status, &headers, Body::empty())
}

#[expect(clippy::needless_pass_by_value, reason = "used in map_err")]
fn unknown(error: std::io::Error) -> Refused {
    match error.kind() {
        std::io::ErrorKind::NotFound => Refused::new(StatusCode::NOT_FOUND, Code::BlobUploadUnknown, "no such upload"),
        _ => Refused::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown, error.to_string()),
    }
}
