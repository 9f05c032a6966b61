//! Source archives: gzip-compressed tar with one top folder, as GitHub's tarballs are.

use std::{
    io::Read as _,
    path::{Component, Path, PathBuf},
};

use flate2::read::GzDecoder;
use kfops_core::{Digest, Failure, Reason};

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
/// Links that lead out of the folder, devices and absurd sizes are refused.
pub async fn extract_source(
    store: &Store,
    source: &SourceRef,
    into: &Path,
    limits: ArchiveLimits,
) -> Result<(), Failure> {
    let bytes =
        store.get(&source.key).await.map_err(|failure| Failure { reason: Reason::SourceUnavailable, ..failure })?;
    let digest = Digest::of(&bytes);
    if digest != source.digest {
        return Err(invalid(source, format!("its digest is {digest}, not {}", source.digest)));
    }
    let (into, source) = (into.to_owned(), source.clone());
    tokio::task::spawn_blocking(move || unpack(&bytes, &source, &into, limits)).await.map_err(Failure::internal)?
}

fn unpack(bytes: &[u8], source: &SourceRef, into: &Path, limits: ArchiveLimits) -> Result<(), Failure> {
    let wrong = |cause: std::io::Error| invalid(source, cause.to_string());
    std::fs::create_dir_all(into).map_err(wrong)?;
    let mut archive = tar::Archive::new(GzDecoder::new(bytes).take(limits.bytes.saturating_add(64 << 20)));
    archive.set_preserve_ownerships(false);
    archive.set_overwrite(false);
    let (mut total, mut count) = (0u64, 0u64);
    for entry in archive.entries().map_err(wrong)? {
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
