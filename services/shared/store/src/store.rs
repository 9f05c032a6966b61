//! Bytes under keys.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::TryStreamExt as _;
use kfops_core::{Digest, Failure, Hasher, Reason};
use object_store::{
    GetResult, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, aws::AmazonS3, local::LocalFileSystem,
    path::Path as Key,
};

use crate::{
    StoreOptions, StoreSettings,
    s3::{self, Bucket, Place, Seen},
    transfer::PIECE,
};

/// Longest for one request to a folder.
const FOLDER_LIMIT: Duration = Duration::from_secs(60);

/// An object store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) inner: Arc<dyn ObjectStore>,
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    place: Place,
    /// Before every key.
    pub(crate) prefix: Key,
    pub(crate) root: Option<PathBuf>,
    s3: Option<Arc<AmazonS3>>,
    /// Longest for one request with its retries; a large object takes several.
    limit: Duration,
}

impl Store {
    /// Opens a store: `file:///folder` (made when it is missing), `s3://bucket/prefix`, or [`StoreSettings`]. It reads
    /// the environment and the files that the settings name; nothing is sent to S3 before the first request.
    pub fn open(settings: impl Into<StoreSettings>) -> Result<Self, Failure> {
        Self::open_in(&settings.into().0, &|name| std::env::var(name).ok())
    }

    /// The same, with another environment.
    pub(crate) fn open_in(options: &StoreOptions, environment: s3::Environment<'_>) -> Result<Self, Failure> {
        if options.url.starts_with("s3://") {
            let bucket = Bucket::open(options, environment)?;
            let shared = Shared {
                place: bucket.place,
                prefix: bucket.prefix,
                root: None,
                s3: Some(Arc::clone(&bucket.client)),
                // The last try begins before the first `timeout` is over.
                limit: options.timeout.get() * 3,
            };
            return Ok(Self { inner: bucket.client, shared: Arc::new(shared) });
        }
        Self::folder(options)
    }

    fn folder(options: &StoreOptions) -> Result<Self, Failure> {
        let url = &options.url;
        let path = url.strip_prefix("file://").filter(|path| path.starts_with('/')).ok_or_else(|| {
            let shown: String = url.chars().filter(|c| !c.is_control()).take(200).collect();
            Failure::new(
                Reason::InvalidArgument,
                format!("object store `{shown}` is not of the form file:///folder or s3://bucket/prefix"),
            )
            .on("store.url")
        })?;
        if *options != (StoreOptions { timeout: options.timeout, ..StoreOptions::at(url) }) {
            let text = format!("object store {url} is a folder: settings of S3 mean nothing for it");
            return Err(Failure::new(Reason::InvalidArgument, text).on("store"));
        }
        let unusable = |error: &dyn std::fmt::Display| {
            Failure::new(Reason::StoreUnavailable, format!("object store {url} cannot be opened: {error}"))
        };
        std::fs::create_dir_all(path).map_err(|error| unusable(&error))?;
        let root = std::fs::canonicalize(path).map_err(|error| unusable(&error))?;
        let inner = LocalFileSystem::new_with_prefix(&root).map_err(|error| unusable(&error))?;
        Ok(Self::plain(Arc::new(inner), format!("file://{}", root.display()), Some(root)))
    }

    /// A store over anything that keeps objects; `url` names it in messages.
    #[must_use]
    pub fn over(inner: Arc<dyn ObjectStore>, url: &str) -> Self {
        Self::plain(inner, url.trim_end_matches('/').to_owned(), None)
    }

    fn plain(inner: Arc<dyn ObjectStore>, url: String, root: Option<PathBuf>) -> Self {
        let place = Place { url, ..Place::default() };
        Self { inner, shared: Arc::new(Shared { place, prefix: Key::default(), root, s3: None, limit: FOLDER_LIMIT }) }
    }

    /// Where the store is: `file:///folder` or `s3://bucket/prefix`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.shared.place.url
    }

    /// Where an object lies, as `file:///…` or `s3://…`.
    #[must_use]
    pub fn uri(&self, key: &str) -> String {
        format!("{}/{key}", self.url())
    }

    /// The key of what lies at `uri`; None when that is not in this store.
    #[must_use]
    pub fn key_of(&self, uri: &str) -> Option<String> {
        let key = uri.strip_prefix(self.url())?.strip_prefix('/')?;
        (!key.is_empty() && self.key(key).is_ok()).then(|| key.to_owned())
    }

    /// The file or folder of a key, where the store is a folder of this machine.
    #[must_use]
    pub fn local_path(&self, key: &str) -> Option<PathBuf> {
        let key = Key::parse(key).ok()?;
        self.shared.root.as_ref().map(|root| root.join(key.as_ref()))
    }

    /// Who signs URLs, where the store is S3.
    pub(crate) fn signer(&self) -> Option<&AmazonS3> {
        self.shared.s3.as_deref()
    }

    /// What messages say about the store.
    pub(crate) fn place(&self) -> &Place {
        &self.shared.place
    }

    /// Stores bytes; what was there before is replaced, never seen half-written. Of several writers at once, one wins.
    pub async fn put(&self, key: &str, bytes: impl Into<Bytes>) -> Result<(), Failure> {
        let bytes = bytes.into();
        if self.signer().is_some() && bytes.len() > 2 * PIECE {
            return self.put_parts(key, bytes).await;
        }
        self.within(key, self.inner.put(&self.key(key)?, bytes.into())).await?;
        Ok(())
    }

    /// Stores bytes where there is no object yet. False: there is one, and it stays what it is; it may have been
    /// made by an earlier try of this very call.
    pub async fn create(&self, key: &str, bytes: impl Into<Bytes>) -> Result<bool, Failure> {
        let (at, bytes) = (self.key(key)?, bytes.into());
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.within(key, self.inner.put_opts(&at, bytes.into(), options)).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.reason == Reason::AlreadyExists => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// All bytes of an object.
    pub async fn get(&self, key: &str) -> Result<Bytes, Failure> {
        let object = self.open_object(key).await?;
        let mut bytes = Vec::with_capacity(usize::try_from(object.meta.size).unwrap_or_default().min(2 * PIECE));
        self.pieces_of(key, object, |piece| bytes.extend_from_slice(piece)).await?;
        Ok(bytes.into())
    }

    /// The last bytes of an object, at most `limit`.
    pub async fn get_end(&self, key: &str, limit: u64) -> Result<Bytes, Failure> {
        let at = self.key(key)?;
        let size = self.within(key, self.inner.head(&at)).await?.size;
        if size <= limit {
            return self.get(key).await;
        }
        self.within(key, self.inner.get_range(&at, size - limit..size)).await
    }

    /// Digest of an object's bytes, read piece by piece.
    pub async fn digest(&self, key: &str) -> Result<Digest, Failure> {
        let mut hasher = Hasher::default();
        let object = self.open_object(key).await?;
        self.pieces_of(key, object, |piece| hasher.update(piece)).await?;
        Ok(hasher.finish())
    }

    pub(crate) async fn open_object(&self, key: &str) -> Result<GetResult, Failure> {
        self.within(key, self.inner.get(&self.key(key)?)).await
    }

    /// Shows every piece of an object to `seen`.
    pub(crate) async fn pieces_of(
        &self,
        key: &str,
        object: GetResult,
        mut seen: impl FnMut(&[u8]),
    ) -> Result<(), Failure> {
        let (promised, mut size) = (object.meta.size, 0);
        let mut pieces = object.into_stream();
        while let Some(piece) = self.within(key, pieces.try_next()).await? {
            size += piece.len() as u64;
            seen(&piece);
        }
        self.whole(key, size, promised)
    }

    /// Fails when less came than was promised.
    pub(crate) fn whole(&self, key: &str, got: u64, promised: u64) -> Result<(), Failure> {
        if got == promised {
            return Ok(());
        }
        let text = format!("object {key} of {}: {got} bytes came of {promised}", self.url());
        Err(Failure::new(Reason::StoreUnavailable, text).on(key))
    }

    /// Whether there is an object.
    pub async fn exists(&self, key: &str) -> Result<bool, Failure> {
        match self.within(key, self.inner.head(&self.key(key)?)).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.reason == Reason::NotFound => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Keys below a prefix, sorted.
    pub async fn list(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let below = self.below(prefix)?;
        let mut found = self.inner.list(Some(&below));
        let mut keys = Vec::new();
        while let Some(meta) = self.within(prefix, found.try_next()).await? {
            // Consoles mark "folders" by empty objects of the prefix's own name.
            if meta.location == below {
                continue;
            }
            let whole = meta.location.as_ref();
            let key = match self.shared.prefix.as_ref() {
                "" => Some(whole),
                prefix => whole.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/')),
            };
            keys.extend(key.map(str::to_owned));
        }
        keys.sort();
        Ok(keys)
    }

    /// Removes an object; one that is not there is removed already.
    pub async fn delete(&self, key: &str) -> Result<(), Failure> {
        match self.within(key, self.inner.delete(&self.key(key)?)).await {
            Err(failure) if failure.reason != Reason::NotFound => Err(failure),
            _ => Ok(()),
        }
    }

    /// Runs a request. A store that does not answer is one that is not there.
    pub(crate) async fn within<T>(
        &self,
        key: &str,
        request: impl Future<Output = Result<T, object_store::Error>>,
    ) -> Result<T, Failure> {
        self.watched(key, Seen::default(), request).await
    }

    /// The same; `seen` keeps what the request came to.
    pub(crate) async fn watched<T>(
        &self,
        key: &str,
        seen: Seen,
        request: impl Future<Output = Result<T, object_store::Error>>,
    ) -> Result<T, Failure> {
        let limit = self.shared.limit;
        match tokio::time::timeout(limit, s3::observed(seen.clone(), request)).await {
            Ok(answer) => answer.map_err(|error| s3::failure(self.place(), key, &error, &seen.last())),
            Err(_) => Err(s3::silent(self.place(), key, limit.as_secs(), &seen.last())),
        }
    }
}
