//! Source archives: gzip-compressed tar with one top folder, as GitHub's tarballs are.

use std::{
    fs::File,
    io::{BufReader, ErrorKind, Read as _},
    path::{Component, Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use flate2::read::GzDecoder;
use kfops_core::{Digest, Failure, Hasher, Reason};

use crate::Store;

/// An archive in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRef {
    /// Its key.
    pub key: String,
    /// What its bytes must digest to.
    pub digest: Digest,
}

/// What an archive may hold.
#[derive(Debug, Clone, Copy)]
pub struct ArchiveLimits {
    /// Sum of the file sizes, bytes.
    pub bytes: u64,
    /// Files and folders.
    pub entries: u64,
}

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self { bytes: 1 << 30, entries: 100_000 }
    }
}

/// Checks the archive's digest and unpacks it, without its top folder, into the empty folder `into`.
/// Links that lead out of the folder, devices and absurd sizes are refused. Dropped before its end, it stops at the
/// next file.
pub async fn extract_source(
    store: &Store,
    source: &SourceRef,
    into: &Path,
    limits: ArchiveLimits,
) -> Result<(), Failure> {
    let parent = into.parent().unwrap_or(into);
    std::fs::create_dir_all(parent).map_err(|error| unwritable(parent, &error))?;
    let archive =
        tempfile::Builder::new().prefix("archive-").tempfile_in(parent).map_err(|e| unwritable(parent, &e))?;
    let mut hasher = Hasher::default();
    store.get_pieces(&source.key, archive.path(), |piece| hasher.update(piece)).await.map_err(|failure| {
        let unavailable = matches!(failure.reason, Reason::NotFound) || failure.resource == source.key;
        if unavailable { Failure { reason: Reason::SourceUnavailable, retryable: true, ..failure } } else { failure }
    })?;
    // Each time: what was whole when it was stored may not be any more.
    let digest = hasher.finish();
    if digest != source.digest {
        let text =
            format!("it is damaged or not the one that was promised: its digest is {digest}, not {}", source.digest);
        return Err(invalid(source, text).action("remove the object from the store, then give the command again"));
    }
    let (into, source, abandoned) = (into.to_owned(), source.clone(), Abandoned::default());
    let flag = Arc::clone(&abandoned.0);
    let unpacked = tokio::task::spawn_blocking(move || {
        let unpacked = File::open(archive.path())
            .map_err(|error| unwritable(archive.path(), &error))
            .and_then(|file| unpack(BufReader::new(file), &source, &into, limits, &flag));
        if flag.load(Ordering::Acquire) {
            std::fs::remove_dir_all(&into).ok();
        }
        unpacked
    });
    let unpacked = unpacked.await.map_err(Failure::internal)?;
    drop(abandoned);
    unpacked
}

/// Dropped, it says that nobody waits any more.
#[derive(Default)]
struct Abandoned(Arc<AtomicBool>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

fn unpack(
    bytes: impl std::io::Read,
    source: &SourceRef,
    into: &Path,
    limits: ArchiveLimits,
    abandoned: &AtomicBool,
) -> Result<(), Failure> {
    let wrong = |cause: std::io::Error| match cause.kind() {
        // The disk's fault, not the archive's.
        ErrorKind::StorageFull
        | ErrorKind::QuotaExceeded
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::PermissionDenied => unwritable(into, &cause),
        _ => invalid(source, cause.to_string()),
    };
    std::fs::create_dir_all(into).map_err(wrong)?;
    let mut archive = tar::Archive::new(GzDecoder::new(bytes).take(limits.bytes.saturating_add(64 << 20)));
    archive.set_preserve_ownerships(false);
    archive.set_overwrite(false);
    let (mut total, mut count) = (0u64, 0u64);
    for entry in archive.entries().map_err(wrong)? {
        if abandoned.load(Ordering::Acquire) {
            return Err(Failure::new(Reason::Canceled, "nobody waits for the source any more"));
        }
        let mut entry = entry.map_err(wrong)?;
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            continue;
        }
        count += 1;
        total = total.saturating_add(entry.size());
        if total > limits.bytes || count > limits.entries {
            return Err(invalid(
                source,
                format!("it is larger than {} bytes or {} files", limits.bytes, limits.entries),
            ));
        }
        let path = entry.path().map_err(wrong)?.into_owned();
        let Some(inner) = without_top(&path) else {
            return Err(invalid(source, format!("`{}` leads out of the archive", path.display())));
        };
        if inner.as_os_str().is_empty() {
            continue;
        }
        let target = into.join(&inner);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).map_err(wrong)?;
            // A folder may have been replaced by a link by an earlier entry.
            let real = parent.canonicalize().map_err(wrong)?;
            if !real.starts_with(into.canonicalize().map_err(wrong)?) {
                return Err(invalid(source, format!("`{}` leads out of the archive", path.display())));
            }
        }
        if kind.is_symlink() {
            let link = entry.link_name().map_err(wrong)?.unwrap_or_default().into_owned();
            if !stays_inside(&inner, &link) {
                return Err(invalid(source, format!("link `{}` leads out of the archive", path.display())));
            }
            std::os::unix::fs::symlink(link, target).map_err(wrong)?;
        } else if kind.is_dir() {
            std::fs::create_dir_all(target).map_err(wrong)?;
        } else if kind.is_file() {
            entry.unpack(target).map_err(wrong)?;
        } else {
            return Err(invalid(source, format!("`{}` is neither file, folder nor link", path.display())));
        }
    }
    Ok(())
}

/// The path below the top folder; None when it is absolute or climbs.
fn without_top(path: &Path) -> Option<PathBuf> {
    let mut parts = path.components().filter(|c| *c != Component::CurDir);
    if !matches!(parts.next()?, Component::Normal(_)) {
        return None;
    }
    parts.map(|part| if let Component::Normal(name) = part { Some(Path::new(name)) } else { None }).collect()
}

fn stays_inside(link_at: &Path, target: &Path) -> bool {
    let mut depth = link_at.components().count() as i64 - 1;
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir => depth -= 1,
            Component::RootDir | Component::Prefix(_) => return false,
        }
        if depth < 0 {
            return false;
        }
    }
    true
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Reason::StoreUnavailable, format!("unpacking a source archive into {}: {error}", path.display()))
}

fn invalid(source: &SourceRef, cause: String) -> Failure {
    Failure::new(Reason::SourceInvalid, format!("source archive {}: {cause}", source.key)).on(&source.key)
}

#[cfg(test)]
mod tests;
