//! What a path of the registry's API means. Names are checked here, before any of them touches the file system.

use axum::http::StatusCode;
use kfops_core::Digest;

use super::answer::{Code, Refused};
use crate::reference::{is_path, is_tag};

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Api,
    Catalog,
    Tags(String),
    Referrers,
    Manifest(String, Reference),
    Blob(Digest),
    Uploads(String),
    Upload(String, uuid::Uuid),
}

/// How a manifest is named.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reference {
    Tag(String),
    Digest(Digest),
}

pub(super) fn parse(path: &str) -> Result<Resource, Refused> {
    let not_found = || Refused::new(StatusCode::NOT_FOUND, Code::NameUnknown, "no such path");
    let rest = match path {
        "/v2" | "/v2/" => return Ok(Resource::Api),
        "/v2/_catalog" => return Ok(Resource::Catalog),
        path => path.strip_prefix("/v2/").ok_or_else(not_found)?,
    };
    if let Some((name, id)) = rest.rsplit_once("/blobs/uploads/") {
        let name = repository(name)?;
        return match id {
            "" => Ok(Resource::Uploads(name)),
            id => id
                .parse()
                .map(|id| Resource::Upload(name, id))
                .map_err(|_| Refused::new(StatusCode::NOT_FOUND, Code::BlobUploadUnknown, "no such upload")),
        };
    }
    if let Some(name) = rest.strip_suffix("/blobs/uploads") {
        return Ok(Resource::Uploads(repository(name)?));
    }
    if let Some(name) = rest.strip_suffix("/tags/list") {
        return Ok(Resource::Tags(repository(name)?));
    }
    let (rest, last) = rest.rsplit_once('/').ok_or_else(not_found)?;
    let (name, kind) = rest.rsplit_once('/').ok_or_else(not_found)?;
    let name = repository(name)?;
    match kind {
        "manifests" if last.contains(':') => Ok(Resource::Manifest(name, Reference::Digest(digest(last)?))),
        "manifests" if is_tag(last) => Ok(Resource::Manifest(name, Reference::Tag(last.to_owned()))),
        "manifests" => Err(Refused::new(StatusCode::BAD_REQUEST, Code::ManifestInvalid, "not a valid tag")),
        "blobs" => Ok(Resource::Blob(digest(last)?)),
        "referrers" => digest(last).map(|_| Resource::Referrers),
        _ => Err(not_found()),
    }
}

pub(super) fn digest(text: &str) -> Result<Digest, Refused> {
    Digest::parse(text).map_err(|error| Refused::new(StatusCode::BAD_REQUEST, Code::DigestInvalid, error.to_string()))
}

fn repository(name: &str) -> Result<String, Refused> {
    if is_path(name) {
        Ok(name.to_owned())
    } else {
        Err(Refused::new(StatusCode::BAD_REQUEST, Code::NameInvalid, "not a valid repository name"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_specifications_paths() {
        let hex = "a".repeat(64);
        assert_eq!(parse("/v2/").unwrap(), Resource::Api);
        assert_eq!(parse("/v2/a/b/tags/list").unwrap(), Resource::Tags("a/b".into()));
        assert!(matches!(parse("/v2/docker.io/library/p/manifests/3.11-slim").unwrap(),
            Resource::Manifest(name, Reference::Tag(tag)) if name == "docker.io/library/p" && tag == "3.11-slim"));
        assert!(matches!(parse(&format!("/v2/a/blobs/sha256:{hex}")).unwrap(), Resource::Blob(_)));
        assert_eq!(parse("/v2/a/blobs/uploads/").unwrap(), Resource::Uploads("a".into()));
    }

    #[test]
    fn hostile_paths_are_refused() {
        for bad in [
            "/",
            "/v2/x",
            "/v2/../manifests/a",
            "/v2/a/../../b/manifests/c",
            "/v2/a/manifests/..",
            "/v2/A/manifests/x",
            "/v2/a/manifests/%2e%2e",
            "/v2/a/blobs/sha256:../../x",
            "/v2/a/blobs/uploads/../x",
            "/v2//manifests/x",
            "/v2/_uploads/manifests/x",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
