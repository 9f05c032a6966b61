//! Bytes under keys.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use futures::TryStreamExt as _;
use kfops_core::{Failure, Reason};
use object_store::{ObjectStore, ObjectStoreExt as _, local::LocalFileSystem, path::Path as Key};

/// An object store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<dyn ObjectStore>,
    root: Option<PathBuf>,
    url: String,
}

impl Store {
    /// Opens `file:///folder`; the folder is made when it is missing.
    pub fn open(url: &str) -> Result<Self, Failure> {
        let path = url.strip_prefix("file://").filter(|path| path.starts_with('/')).ok_or_else(|| {
            Failure::new(Reason::InvalidArgument, format!("object store `{url}` is not of the form file:///folder"))
                .on("store.url")
        })?;
        let unusable = |error: &dyn std::fmt::Display| {
            Failure::new(Reason::StoreUnavailable, format!("object store {url} cannot be opened: {error}"))
        };
        std::fs::create_dir_all(path).map_err(|error| unusable(&error))?;
        let root = std::fs::canonicalize(path).map_err(|error| unusable(&error))?;
        let inner = LocalFileSystem::new_with_prefix(&root).map_err(|error| unusable(&error))?;
        Ok(Self { inner: Arc::new(inner), url: format!("file://{}", root.display()), root: Some(root) })
    }

    /// Where an object lies, as `file:///…`.
    #[must_use]
    pub fn uri(&self, key: &str) -> String {
        format!("{}/{key}", self.url)
    }

    /// The file or folder of a key, where the store is a folder of this machine.
    #[must_use]
    pub fn local_path(&self, key: &str) -> Option<PathBuf> {
        let key = Key::parse(key).ok()?;
        self.root.as_ref().map(|root| root.join(key.as_ref()))
    }

    /// Stores bytes; what was there before is replaced, never seen half-written.
    pub async fn put(&self, key: &str, bytes: impl Into<Bytes>) -> Result<(), Failure> {
        self.inner.put(&parse(key)?, bytes.into().into()).await.map_err(|error| failure(key, &error))?;
        Ok(())
    }

    /// Stores a file.
    pub async fn put_file(&self, key: &str, path: &Path) -> Result<(), Failure> {
        let bytes = tokio::fs::read(path)
            .await
            .map_err(|error| Failure::new(Reason::Internal, format!("cannot read {}: {error}", path.display())))?;
        self.put(key, bytes).await
    }

    /// All bytes of an object.
    pub async fn get(&self, key: &str) -> Result<Bytes, Failure> {
        let object = self.inner.get(&parse(key)?).await.map_err(|error| failure(key, &error))?;
        object.bytes().await.map_err(|error| failure(key, &error))
    }

    /// Whether there is an object.
    pub async fn exists(&self, key: &str) -> Result<bool, Failure> {
        match self.inner.head(&parse(key)?).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(failure(key, &error)),
        }
    }

    /// Keys below a prefix, sorted.
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let prefix = parse(prefix)?;
        let mut keys: Vec<String> = self
            .inner
            .list(Some(&prefix))
            .map_ok(|meta| meta.location.to_string())
            .try_collect()
            .await
            .map_err(|error| failure(prefix.as_ref(), &error))?;
        keys.sort();
        Ok(keys)
    }

    /// Removes an object; one that is not there is removed already.
    pub async fn delete(&self, key: &str) -> Result<(), Failure> {
        match self.inner.delete(&parse(key)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(failure(key, &error)),
        }
    }
}

fn parse(key: &str) -> Result<Key, Failure> {
    Key::parse(key)
        .map_err(|error| Failure::new(Reason::InvalidArgument, format!("`{key}` is no object key: {error}")).on("key"))
}

fn failure(key: &str, error: &object_store::Error) -> Failure {
    match error {
        object_store::Error::NotFound { .. } => {
            Failure::new(Reason::NotFound, format!("no object {key} in the store")).on(key)
        }
        error => Failure::new(Reason::StoreUnavailable, format!("object {key}: {error}")).on(key),
    }
}
