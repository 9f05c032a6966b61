//! Large objects: piece by piece, never in memory as a whole.

use std::path::Path;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream::FuturesUnordered};
use kfops_core::{Failure, Reason};
use object_store::{
    Attribute, Attributes, GetOptions, MultipartUpload, ObjectStore as _, PutMultipartOptions, UploadPart,
    path::Path as Key,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::Store;

/// Read and written at a time, bytes. S3 takes parts of at least 5 MiB.
pub(crate) const PIECE: usize = 8 << 20;
/// Parts under way at a time: what is in memory of one upload is one piece more.
const PARALLEL: usize = 3;
/// Parts of one upload; S3 takes 10,000.
const PARTS: u64 = 9_000;
/// Metadata of an object that tells by which upload it was made.
const MARK: &str = "kfops-upload";

impl Store {
    /// Stores a file piece by piece: it is never in memory as a whole, and never seen half-written.
    pub async fn put_file(&self, key: &str, path: &Path) -> Result<(), Failure> {
        self.put_pieces(key, path, |_| {}).await.map(|_| ())
    }

    /// Writes an object into a file piece by piece. After a failure the file holds a part of it.
    pub async fn get_file(&self, key: &str, into: &Path) -> Result<(), Failure> {
        self.get_pieces(key, into, |_| {}).await
    }

    /// Stores a file; `seen` is shown every piece. How many bytes there were.
    pub(crate) async fn put_pieces(&self, key: &str, path: &Path, mut seen: impl FnMut(&[u8])) -> Result<u64, Failure> {
        let unreadable = |error: std::io::Error| Failure::internal(format!("cannot read {}: {error}", path.display()));
        let mut file = tokio::fs::File::open(path).await.map_err(unreadable)?;
        let length = file.metadata().await.map_err(unreadable)?.len();
        let part = part_size(length);
        let mut piece = read_piece(&mut file, part).await.map_err(unreadable)?;
        let mut size = piece.len() as u64;
        if piece.len() < part {
            seen(&piece);
            self.put(key, piece).await?;
            return Ok(size);
        }
        let mut upload = Upload::begin(self, key).await?;
        while !piece.is_empty() {
            seen(&piece);
            upload.put(piece.into()).await?;
            piece = read_piece(&mut file, part).await.map_err(unreadable)?;
            size += piece.len() as u64;
        }
        upload.complete().await?;
        Ok(size)
    }

    /// Stores bytes that are too many for one request.
    pub(crate) async fn put_parts(&self, key: &str, mut bytes: Bytes) -> Result<(), Failure> {
        let part = part_size(bytes.len() as u64);
        let mut upload = Upload::begin(self, key).await?;
        while !bytes.is_empty() {
            upload.put(bytes.split_to(part.min(bytes.len()))).await?;
        }
        upload.complete().await
    }

    /// Writes an object into a file; `seen` is shown every piece.
    pub(crate) async fn get_pieces(&self, key: &str, into: &Path, mut seen: impl FnMut(&[u8])) -> Result<(), Failure> {
        let unwritable = |error: std::io::Error| {
            Failure::new(Reason::StoreUnavailable, format!("cannot write {}: {error}", into.display()))
        };
        let object = self.open_object(key).await?;
        let (promised, mut size) = (object.meta.size, 0);
        let mut pieces = object.into_stream();
        let mut file = tokio::fs::File::create(into).await.map_err(unwritable)?;
        while let Some(piece) = self.within(key, pieces.try_next()).await? {
            size += piece.len() as u64;
            seen(&piece);
            file.write_all(&piece).await.map_err(unwritable)?;
        }
        self.whole(key, size, promised)?;
        file.flush().await.map_err(unwritable)
    }
}

/// An upload in parts. Dropped before its end, it leaves nothing.
struct Upload<'a> {
    store: &'a Store,
    key: &'a str,
    at: Key,
    mark: Option<String>,
    under_way: FuturesUnordered<UploadPart>,
    /// None when it is complete.
    inner: Option<Box<dyn MultipartUpload>>,
}

impl<'a> Upload<'a> {
    async fn begin(store: &'a Store, key: &'a str) -> Result<Self, Failure> {
        let at = store.key(key)?;
        // Folders have no metadata, and lose no answers.
        let mark = store.signer().map(|_| uuid::Uuid::new_v4().simple().to_string());
        let mut attributes = Attributes::new();
        if let Some(mark) = &mark {
            attributes.insert(Attribute::Metadata(MARK.into()), mark.clone().into());
        }
        let options = PutMultipartOptions { attributes, ..PutMultipartOptions::default() };
        let inner = store.within(key, store.inner.put_multipart_opts(&at, options)).await?;
        Ok(Self { store, key, at, mark, under_way: FuturesUnordered::new(), inner: Some(inner) })
    }

    /// Sends a part; returns when there is room for the next.
    async fn put(&mut self, piece: Bytes) -> Result<(), Failure> {
        if let Some(inner) = &mut self.inner {
            self.under_way.push(inner.put_part(piece.into()));
        }
        while self.under_way.len() >= PARALLEL {
            self.wait().await?;
        }
        Ok(())
    }

    async fn wait(&mut self) -> Result<(), Failure> {
        let next = async { self.under_way.next().await.unwrap_or(Ok(())) };
        self.store.within(self.key, next).await
    }

    async fn complete(mut self) -> Result<(), Failure> {
        while !self.under_way.is_empty() {
            self.wait().await?;
        }
        let Some(inner) = &mut self.inner else { return Ok(()) };
        if let Err(failure) = self.store.within(self.key, inner.complete()).await {
            // The answer of an earlier try may have been lost; then the upload is not known any more.
            if !is_there(self.store, self.key, &self.at, self.mark.as_deref()).await.unwrap_or(false) {
                return Err(match failure.reason {
                    Reason::NotFound => {
                        let text = format!("object {}: the store has forgotten its upload", self.key);
                        Failure::new(Reason::StoreUnavailable, text).on(self.key).action("try again")
                    }
                    _ => failure,
                });
            }
        }
        self.inner = None;
        Ok(())
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        // What is left of an upload in S3 is not seen, but paid for. A folder's upload removes itself.
        let Some(mut inner) = self.inner.take() else { return };
        self.under_way.clear();
        if self.mark.is_some()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (store, key) = (self.store.clone(), self.key.to_owned());
            runtime.spawn(async move {
                if let Err(failure) = store.within(&key, inner.abort()).await {
                    tracing::debug!(key, error = %failure, "upload not taken back");
                }
            });
        }
    }
}

/// Whether the object is the one of the upload with this mark.
async fn is_there(store: &Store, key: &str, at: &Key, mark: Option<&str>) -> Result<bool, Failure> {
    let Some(mark) = mark else { return Ok(false) };
    let head = GetOptions::new().with_head(true);
    match store.within(key, store.inner.get_opts(at, head)).await {
        Ok(found) => {
            let found = found.attributes.get(&Attribute::Metadata(MARK.into()));
            Ok(found.is_some_and(|found| found.as_ref() == mark))
        }
        Err(failure) if failure.reason == Reason::NotFound => Ok(false),
        Err(failure) => Err(failure),
    }
}

/// For an object of `length` bytes.
fn part_size(length: u64) -> usize {
    let least = usize::try_from(length.div_ceil(PARTS)).unwrap_or(usize::MAX >> 1);
    least.div_ceil(1 << 20).saturating_mul(1 << 20).max(PIECE)
}

/// The next piece of a file; a short one is the last.
async fn read_piece(file: &mut tokio::fs::File, size: usize) -> std::io::Result<Vec<u8>> {
    let mut piece = Vec::with_capacity(size.min(PIECE));
    file.take(size as u64).read_to_end(&mut piece).await?;
    Ok(piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_can_spawn_it() {
        fn sent(_: impl Send) {}
        let work = tempfile::tempdir().unwrap();
        let store = Store::open(format!("file://{}", work.path().display())).unwrap();
        sent(store.put("k", vec![1]));
        sent(store.put_file("k", work.path()));
        sent(store.get_file("k", work.path()));
        sent(store.check());
        sent(crate::put_folder(&store, "k", work.path()));
        sent(crate::get_folder(&store, "k", work.path()));
    }

    #[test]
    fn parts_are_few_enough_and_large_enough_for_s3() {
        assert_eq!((part_size(0), part_size(60 << 30)), (PIECE, PIECE));
        for length in [80_u64 << 30, 1 << 40, 5 << 40] {
            let part = part_size(length) as u64;
            assert!(length.div_ceil(part) <= 10_000 && part <= 5 << 30, "{length}: {part}");
        }
    }
}
