//! Manifests, tags and the catalog.

use axum::{
    body::Body,
    http::{StatusCode, request::Parts},
    response::Response,
};
use serde_json::json;

use super::{
    Storage,
    answer::{Code, Refused, query, respond},
    path::Reference,
};

/// Largest manifest, as the specification suggests.
const MAX_MANIFEST: usize = 4 << 20;

pub(super) async fn get(storage: &Storage, name: &str, reference: &Reference) -> Result<Response, Refused> {
    let digest = match reference {
        Reference::Digest(digest) => Some(digest.clone()),
        Reference::Tag(tag) => storage.tag(name, tag),
    };
    let manifest = digest.and_then(|digest| storage.manifest(name, digest)).ok_or_else(|| {
        Refused::new(StatusCode::NOT_FOUND, Code::ManifestUnknown, format!("no such manifest in {name}"))
    })?;
    let length = manifest.bytes.len().to_string();
    let headers = [
        ("content-type", manifest.media_type.as_str()),
        ("content-length", &length),
        ("docker-content-digest", manifest.digest.as_str()),
    ];
    respond(StatusCode::OK, &headers, manifest.bytes)
}

pub(super) async fn put(
    storage: &Storage,
    name: &str,
    reference: &Reference,
    parts: &Parts,
    body: Body,
) -> Result<Response, Refused> {
    let invalid = |message: &str| Refused::new(StatusCode::BAD_REQUEST, Code::ManifestInvalid, message);
    let media_type = parts
        .headers
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| invalid("the content type is missing"))?
        .to_owned();
    let bytes = axum::body::to_bytes(body, MAX_MANIFEST)
        .await
        .map_err(|_| Refused::new(StatusCode::PAYLOAD_TOO_LARGE, Code::ManifestInvalid, "the manifest is too large"))?
        .to_vec();
    let tag = match reference {
        Reference::Tag(tag) => Some(tag.clone()),
        Reference::Digest(digest) if *digest != kfops_core::Digest::of(&bytes) => {
            return Err(Refused::new(StatusCode::BAD_REQUEST, Code::DigestInvalid, "the manifest has another digest"));
        }
        Reference::Digest(_) => None,
    };
    let (owned, repository) = (storage.clone(), name.to_owned());
    let digest =
        tokio::task::spawn_blocking(move || owned.put_manifest(&repository, tag.as_deref(), &media_type, &bytes))
            .await
            .map_err(|error| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown, error.to_string()))??;
    let location = format!("/v2/{name}/manifests/{digest}");
    let headers = [("location", location.as_str()), ("docker-content-digest", digest.as_str())];
    respond(StatusCode::CREATED, &headers, "")
}

pub(super) async fn tags(storage: &Storage, name: &str, parts: &Parts) -> Result<Response, Refused> {
    let tags = storage
        .tags(name)
        .ok_or_else(|| Refused::new(StatusCode::NOT_FOUND, Code::NameUnknown, format!("no repository {name}")))?;
    let (page, next) = page(tags, parts);
    answer(&json!({"name": name, "tags": page}), next.map(|next| format!("/v2/{name}/tags/list?{next}")))
}

pub(super) async fn catalog(storage: &Storage, parts: &Parts) -> Result<Response, Refused> {
    let (page, next) = page(storage.repositories(), parts);
    answer(&json!({"repositories": page}), next.map(|next| format!("/v2/_catalog?{next}")))
}

/// Nothing refers to anything here yet: an empty index, as the specification asks.
pub(super) fn no_referrers() -> Result<Response, Refused> {
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []});
    respond(StatusCode::OK, &[("content-type", "application/vnd.oci.image.index.v1+json")], index.to_string())
}

fn page(mut names: Vec<String>, parts: &Parts) -> (Vec<String>, Option<String>) {
    if let Some(last) = query(parts, "last") {
        names.retain(|name| *name > last);
    }
    let size = query(parts, "n").and_then(|n| n.parse::<usize>().ok()).unwrap_or(1000).clamp(1, 1000);
    let more = names.len() > size;
    names.truncate(size);
    let next = names.last().filter(|_| more).map(|last| format!("n={size}&last={last}"));
    (names, next)
}

fn answer(body: &serde_json::Value, next: Option<String>) -> Result<Response, Refused> {
    let link = next.map(|next| format!("<{next}>; rel=\"next\""));
    let mut headers = vec![("content-type", "application/json")];
    if let Some(link) = &link {
        headers.push(("link", link));
    }
    respond(StatusCode::OK, &headers, body.to_string())
}
