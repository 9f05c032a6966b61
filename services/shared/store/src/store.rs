//! Bytes under keys.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::TryStreamExt as _;
use kfops_core::{Digest, Failure, Hasher, Reason};
use object_store::{ObjectStore, ObjectStoreExt as _, local::LocalFileSystem, path::Path as Key};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Longest for one request; a large object takes several.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Read and written at a time.
const PIECE: usize = 4 << 20;

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

    /// A store over anything that keeps objects; `url` names it in messages.
    #[must_use]
    pub fn over(inner: Arc<dyn ObjectStore>, url: &str) -> Self {
        Self { inner, root: None, url: url.trim_end_matches('/').to_owned() }
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
        within(key, self.inner.put(&parse(key)?, bytes.into().into())).await?;
        Ok(())
    }

    /// Stores a file piece by piece: it is never in memory as a whole, and never seen half-written.
    pub async fn put_file(&self, key: &str, path: &Path) -> Result<(), Failure> {
        self.put_pieces(key, path, |_| {}).await.map(|_| ())
    }

    /// The same; `seen` is shown every piece. How many bytes there were.
    pub(crate) async fn put_pieces(&self, key: &str, path: &Path, mut seen: impl FnMut(&[u8])) -> Result<u64, Failure> {
        let unreadable = |error: std::io::Error| Failure::internal(format!("cannot read {}: {error}", path.display()));
        let mut file = tokio::fs::File::open(path).await.map_err(unreadable)?;
        let mut piece = read_piece(&mut file).await.map_err(unreadable)?;
        let mut size = piece.len() as u64;
        if piece.len() < PIECE {
            seen(&piece);
            self.put(key, piece).await?;
            return Ok(size);
        }
        // Dropped before its end, it leaves nothing.
        let mut upload = within(key, self.inner.put_multipart(&parse(key)?)).await?;
        while !piece.is_empty() {
            seen(&piece);
            within(key, upload.put_part(piece.into())).await?;
            piece = read_piece(&mut file).await.map_err(unreadable)?;
            size += piece.len() as u64;
        }
        within(key, upload.complete()).await?;
        Ok(size)
    }

    /// Writes an object into a file piece by piece; `seen` is shown every piece.
    pub(crate) async fn get_pieces(&self, key: &str, into: &Path, mut seen: impl FnMut(&[u8])) -> Result<(), Failure> {
        let unwritable = |error: std::io::Error| {
            Failure::new(Reason::StoreUnavailable, format!("cannot write {}: {error}", into.display()))
        };
        let mut pieces = within(key, self.inner.get(&parse(key)?)).await?.into_stream();
        let mut file = tokio::fs::File::create(into).await.map_err(unwritable)?;
        while let Some(piece) = within(key, pieces.try_next()).await? {
            seen(&piece);
            file.write_all(&piece).await.map_err(unwritable)?;
        }
        file.flush().await.map_err(unwritable)
    }

    /// All bytes of an object.
    pub async fn get(&self, key: &str) -> Result<Bytes, Failure> {
        let object = within(key, self.inner.get(&parse(key)?)).await?;
        within(key, object.bytes()).await
    }

    /// Digest of an object's bytes, read piece by piece.
    pub async fn digest(&self, key: &str) -> Result<Digest, Failure> {
        let object = self.inner.get(&parse(key)?).await.map_err(|error| failure(key, &error))?;
        let mut hasher = Hasher::default();
        let mut pieces = object.into_stream();
        while let Some(piece) = pieces.try_next().await.map_err(|error| failure(key, &error))? {
            hasher.update(piece);
        }
        Ok(hasher.finish())
    }

    /// Whether there is an object.
    pub async fn exists(&self, key: &str) -> Result<bool, Failure> {
        match within(key, self.inner.head(&parse(key)?)).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.reason == Reason::NotFound => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Keys below a prefix, sorted.
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let prefix = parse(prefix)?;
        let found = self.inner.list(Some(&prefix)).map_ok(|meta| meta.location.to_string());
        let mut keys: Vec<String> = within(prefix.as_ref(), found.try_collect()).await?;
        keys.sort();
        Ok(keys)
    }

    /// Removes an object; one that is not there is removed already.
    pub async fn delete(&self, key: &str) -> Result<(), Failure> {
        match within(key, self.inner.delete(&parse(key)?)).await {
            Err(failure) if failure.reason != Reason::NotFound => Err(failure),
            _ => Ok(()),
        }
    }
}

/// A store that does not answer is one that is not there.
async fn within<T>(key: &str, request: impl Future<Output = Result<T, object_store::Error>>) -> Result<T, Failure> {
    match tokio::time::timeout(TIME_LIMIT, request).await {
        Ok(answer) => answer.map_err(|error| failure(key, &error)),
        Err(_) => {
            let text = format!("object {key}: the store did not answer within {} s", TIME_LIMIT.as_secs());
            Err(Failure::new(Reason::StoreUnavailable, text).on(key))
        }
    }
}

/// The next piece of a file; a short one is the last.
async fn read_piece(file: &mut tokio::fs::File) -> std::io::Result<Vec<u8>> {
    let mut piece = Vec::new();
    file.take(PIECE as u64).read_to_end(&mut piece).await?;
    Ok(piece)
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
