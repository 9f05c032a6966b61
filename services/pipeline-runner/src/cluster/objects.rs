//! The artifacts of KFP's runs in their object store.

use std::path::{Path, PathBuf};

use kfops_core::{Failure, Reason};
use kfops_store::{Store, get_folder};

/// Where KFP puts what it does not know where to put.
pub(super) const DEFAULT_ROOT: &str = "minio://mlpipeline/v2/artifacts";
/// Longest end of a task's log that is kept, bytes.
const LOG: usize = 32 << 20;

/// A pipeline root: `minio://bucket/prefix`, perhaps with a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Root {
    /// As it is given to KFP.
    pub(super) text: String,
    bucket: String,
    prefix: String,
}

impl Root {
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = || {
            let message = format!("pipeline root `{text}` is not of the form minio://bucket/prefix (or s3://, gs://)");
            Failure::new(Reason::InvalidArgument, message).on("kfp.pipeline_root")
        };
        let plain = text.split('?').next().unwrap_or_default().trim_end_matches('/');
        let (bucket, prefix) = split(plain).ok_or_else(wrong)?;
        if bucket.is_empty() || prefix.split('/').any(|part| part == ".." || part == ".") {
            return Err(wrong());
        }
        Ok(Self { text: text.to_owned(), bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }

    /// The key below the root.
    pub(super) fn key(&self, below: &str) -> String {
        if self.prefix.is_empty() { below.to_owned() } else { format!("{}/{below}", self.prefix) }
    }

    /// The URI of a key.
    pub(super) fn uri(&self, key: &str) -> String {
        let scheme = self.text.split("://").next().unwrap_or("s3");
        format!("{scheme}://{}/{key}", self.bucket)
    }

    /// The key of an artifact below this root. A task may claim any URI: nothing else is ever read.
    pub(super) fn key_of(&self, uri: &str) -> Option<String> {
        let (bucket, key) = split(uri)?;
        let below = if self.prefix.is_empty() { key } else { key.strip_prefix(&self.prefix)?.strip_prefix('/')? };
        let normal = !below.is_empty() && key.split('/').all(|part| !matches!(part, "" | "." | ".."));
        (bucket == self.bucket && normal).then(|| key.to_owned())
    }
}

fn split(uri: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = uri.split_once("://")?;
    matches!(scheme, "minio" | "s3" | "gs").then(|| rest.split_once('/').unwrap_or((rest, "")))
}

/// The folder or file under a key onto this machine; None when there is neither.
pub(super) async fn fetch(store: &Store, key: &str, into: &Path) -> Result<Option<PathBuf>, Failure> {
    tokio::fs::create_dir_all(into)
        .await
        .map_err(|error| Failure::internal(format!("cannot make {}: {error}", into.display())))?;
    if store.exists(key).await? {
        let name = key.rsplit('/').next().unwrap_or("artifact");
        let path = into.join(name);
        let bytes = store.get(key).await?;
        tokio::fs::write(&path, bytes)
            .await
            .map_err(|error| Failure::internal(format!("cannot write {}: {error}", path.display())))?;
        return Ok(Some(path));
    }
    if store.list(key).await?.is_empty() {
        return Ok(None);
    }
    let folder = into.join("artifact");
    get_folder(store, key, &folder).await?;
    Ok(Some(folder))
}

/// The end of a log, as text; empty when there is none.
pub(super) async fn log(store: &Store, key: &str) -> Result<String, Failure> {
    match store.get(key).await {
        Ok(bytes) => {
            let end = bytes.slice(bytes.len().saturating_sub(LOG)..);
            Ok(String::from_utf8_lossy(&end).into_owned())
        }
        Err(failure) if failure.reason == Reason::NotFound => Ok(String::new()),
        Err(failure) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_below_the_root_has_a_key() {
        let root = Root::parse("minio://mlpipeline/v2/artifacts/?endpoint=x").unwrap();
        assert_eq!(root.key("p/r"), "v2/artifacts/p/r");
        assert_eq!(root.uri("v2/artifacts/p"), "minio://mlpipeline/v2/artifacts/p");
        assert_eq!(root.key_of("minio://mlpipeline/v2/artifacts/p/r/m"), Some("v2/artifacts/p/r/m".into()));
        assert_eq!(root.key_of("s3://mlpipeline/v2/artifacts/p"), Some("v2/artifacts/p".into()));
        for uri in [
            "minio://other/v2/artifacts/p",
            "minio://mlpipeline/v2/artifactsx/p",
            "minio://mlpipeline/v2/artifacts/../secret",
            "minio://mlpipeline/v2/artifacts//p",
            "minio://mlpipeline/v2/artifacts",
            "minio://mlpipeline/private",
            "file:///etc/passwd",
            "/etc/passwd",
            "https://mlpipeline/v2/artifacts/p",
        ] {
            assert_eq!(root.key_of(uri), None, "{uri}");
        }
        assert!(
            Root::parse("minio://").is_err() && Root::parse("/tmp").is_err() && Root::parse("s3://b/../c").is_err()
        );
        assert_eq!(Root::parse("s3://b").unwrap().key_of("s3://b/x"), Some("x".into()));
    }
}
