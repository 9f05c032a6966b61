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
mod tests {
    use flate2::{Compression, write::GzEncoder};

    use super::*;

    type Builder = tar::Builder<GzEncoder<Vec<u8>>>;

    fn archive(build: impl FnOnce(&mut Builder)) -> Vec<u8> {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        build(&mut builder);
        builder.into_inner().unwrap().finish().unwrap()
    }

    fn file(builder: &mut Builder, path: &str, text: &str) {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        // Set the raw name: the builder itself refuses `..`.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        builder.append(&header, text.as_bytes()).unwrap();
    }

    fn link(builder: &mut Builder, path: &str, target: &str) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, path, target).unwrap();
    }

    async fn extract(bytes: Vec<u8>) -> (tempfile::TempDir, Result<(), Failure>) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("file://{}/store", folder.path().display())).unwrap();
        let source = SourceRef { key: "sources/o/r/c.tar.gz".into(), digest: Digest::of(&bytes) };
        store.put(&source.key, bytes).await.unwrap();
        let limits = ArchiveLimits { bytes: 1000, entries: 10 };
        let result = extract_source(&store, &source, &folder.path().join("out"), limits).await;
        (folder, result)
    }

    #[tokio::test]
    async fn unpacks_without_the_top_folder() {
        let (folder, result) = extract(archive(|b| {
            file(b, "o-r-3f2c1e7/src/a.py", "1");
            link(b, "o-r-3f2c1e7/b.py", "src/a.py");
        }))
        .await;
        result.unwrap();
        assert_eq!(std::fs::read_to_string(folder.path().join("out/b.py")).unwrap(), "1");
    }

    #[tokio::test]
    async fn refuses_what_leads_out() {
        let cases: [fn(&mut Builder); 5] = [
            |b| file(b, "top/../../evil", "x"),
            |b| file(b, "/etc/evil", "x"),
            |b| link(b, "top/l", "/etc/passwd"),
            |b| link(b, "top/a/l", "../../x"),
            |b| (0..20).for_each(|i| file(b, &format!("top/{i}"), "x")),
        ];
        for (number, case) in cases.into_iter().enumerate() {
            let (folder, result) = extract(archive(case)).await;
            assert_eq!(result.unwrap_err().reason, Reason::SourceInvalid, "case {number}");
            assert!(!folder.path().join("evil").exists());
        }
    }

    #[tokio::test]
    async fn an_archive_that_was_damaged_later_is_found_out_at_the_next_read() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("file://{}/store", folder.path().display())).unwrap();
        let bytes = archive(|b| file(b, "top/a", "1"));
        let source = SourceRef { key: "s/a.tar.gz".into(), digest: Digest::of(&bytes) };
        store.put(&source.key, bytes.clone()).await.unwrap();
        let extract =
            async |to: &str| extract_source(&store, &source, &folder.path().join(to), ArchiveLimits::default()).await;
        extract("whole").await.unwrap();
        let path = store.local_path(&source.key).unwrap();
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 1;
        for (to, damaged) in [("truncated", &bytes[..bytes.len() / 2]), ("flipped", &flipped[..]), ("empty", &[])] {
            std::fs::write(&path, damaged).unwrap();
            let failure = extract(to).await.unwrap_err();
            assert_eq!((failure.reason, failure.retryable), (Reason::SourceInvalid, false), "{to}");
            assert!(failure.message.contains("s/a.tar.gz: it is damaged"), "{failure}");
            assert!(failure.action.contains("remove the object"), "{failure:?}");
            assert!(!folder.path().join(to).exists(), "something of it was unpacked");
        }
        std::fs::remove_file(&path).unwrap();
        let failure = extract("gone").await.unwrap_err();
        assert_eq!((failure.reason, failure.retryable), (Reason::SourceUnavailable, true));
    }

    #[tokio::test]
    async fn a_full_disk_is_no_fault_of_the_archive() {
        let folder = tempfile::tempdir().unwrap();
        let small = folder.path().join("small");
        std::fs::create_dir(&small).unwrap();
        let Some(_mounted) = Mounted::new(&small) else {
            eprintln!("nothing can be mounted here: a full disk is not tested");
            return;
        };
        let store = Store::open(&format!("file://{}/store", folder.path().display())).unwrap();
        let bytes = archive(|b| file(b, "top/a", &"x".repeat(3 << 20)));
        let source = SourceRef { key: "s/a.tar.gz".into(), digest: Digest::of(&bytes) };
        store.put(&source.key, bytes).await.unwrap();
        let extracted = extract_source(&store, &source, &small.join("out"), ArchiveLimits::default()).await;
        let failure = extracted.unwrap_err();
        assert_eq!((failure.reason, failure.retryable), (Reason::StoreUnavailable, true), "{failure}");

        // And a store on it refuses, keeps what it has, and leaves no half object.
        std::fs::remove_dir_all(small.join("out")).unwrap();
        let store = Store::open(&format!("file://{}/store", small.display())).unwrap();
        store.put("kept", "1").await.unwrap();
        let large = folder.path().join("large");
        std::fs::write(&large, vec![7; 5 << 20]).unwrap();
        let failure = store.put_file("large", &large).await.unwrap_err();
        assert_eq!((failure.reason, failure.retryable), (Reason::StoreUnavailable, true), "{failure}");
        assert!(!store.exists("large").await.unwrap());
        assert_eq!(store.get("kept").await.unwrap(), "1");
    }

    /// A file system of 1 MiB.
    struct Mounted(PathBuf);

    impl Mounted {
        fn new(at: &Path) -> Option<Self> {
            let mut mount = std::process::Command::new("mount");
            let mount = mount.args(["-t", "tmpfs", "-o", "size=1m", "kfops-test"]).arg(at).output();
            mount.is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
        }
    }

    impl Drop for Mounted {
        fn drop(&mut self) {
            std::process::Command::new("umount").arg("--lazy").arg(&self.0).status().ok();
        }
    }

    #[tokio::test]
    async fn refuses_another_digest() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("file://{}", folder.path().display())).unwrap();
        store.put("k", "bytes").await.unwrap();
        let source = SourceRef { key: "k".into(), digest: Digest::of(b"other") };
        let failure =
            extract_source(&store, &source, &folder.path().join("out"), ArchiveLimits::default()).await.unwrap_err();
        assert_eq!(failure.reason, Reason::SourceInvalid);
    }
}
