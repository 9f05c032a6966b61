//! Folders as sets of objects: how models are kept.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use kfops_core::{Digest, Failure, Hasher, Reason};
use walkdir::WalkDir;

use crate::Store;

/// A folder in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFolder {
    /// Where it lies, without a slash at the end.
    pub uri: String,
    /// Over sorted names and contents.
    pub digest: Digest,
    /// Sum of the file sizes, bytes.
    pub size: u64,
}

/// Copies the regular files of a folder (or one file) below `prefix`.
pub async fn put_folder(store: &Store, prefix: &str, folder: &Path) -> Result<StoredFolder, Failure> {
    let mut hasher = Hasher::default();
    let mut size = 0;
    for (name, path) in files(folder)? {
        let promised = tokio::fs::metadata(&path).await.map_err(|error| unreadable(&path, &error))?.len();
        hasher.field(&name);
        hasher.update(promised.to_be_bytes());
        let stored = store.put_pieces(&format!("{prefix}/{name}"), &path, |piece| hasher.update(piece)).await?;
        if stored != promised {
            return Err(unreadable(&path, &"it changed while it was stored"));
        }
        size += stored;
    }
    Ok(StoredFolder { uri: store.uri(prefix), digest: hasher.finish(), size })
}

/// Copies a folder out of the store.
pub async fn get_folder(store: &Store, prefix: &str, into: &Path) -> Result<(), Failure> {
    for key in store.list(prefix).await? {
        let Some(name) = key.strip_prefix(prefix).map(|rest| rest.trim_start_matches('/')) else { continue };
        let target = into.join(name);
        let written = async {
            if let Some(parent) = target.parent() {
                tokio::fs::create_dir_all(parent).await?;
            }
            Ok::<_, std::io::Error>(())
        };
        written.await.map_err(|error| unreadable(&target, &error))?;
        store.get_pieces(&key, &target, |_| {}).await?;
    }
    Ok(())
}

/// The digest that `put_folder` gives, of a folder in the store. None when there is nothing below `prefix`.
pub async fn digest_stored(store: &Store, prefix: &str) -> Result<Option<Digest>, Failure> {
    let mut hasher = Hasher::default();
    let keys = store.list(prefix).await?;
    for key in &keys {
        let name = key.strip_prefix(prefix).map_or(key.as_str(), |rest| rest.trim_start_matches('/'));
        let object = store.open_object(key).await?;
        hasher.field(name);
        hasher.update(object.meta.size.to_be_bytes());
        store.pieces_of(key, object, |piece| hasher.update(piece)).await?;
    }
    Ok((!keys.is_empty()).then(|| hasher.finish()))
}

/// The digest that `put_folder` gives.
pub fn digest_folder(folder: &Path) -> Result<Digest, Failure> {
    let mut hasher = Hasher::default();
    for (name, path) in files(folder)? {
        hasher.field(&name);
        add_file(&mut hasher, &path).map_err(|error| unreadable(&path, &error))?;
    }
    Ok(hasher.finish())
}

/// As one field, without the whole file in memory.
fn add_file(hasher: &mut Hasher, path: &Path) -> std::io::Result<()> {
    let mut file = std::fs::File::open(path)?;
    let promised = file.metadata()?.len();
    hasher.update(promised.to_be_bytes());
    let (mut buffer, mut seen) = (vec![0; 256 << 10], 0);
    loop {
        match file.read(&mut buffer)? {
            0 if seen == promised => return Ok(()),
            0 => return Err(std::io::Error::other("it changed while it was read")),
            n => {
                seen += n as u64;
                hasher.update(buffer.get(..n).unwrap_or_default());
            }
        }
    }
}

fn files(folder: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    if folder.is_file() {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Ok(vec![(name, folder.to_owned())]);
    }
    let mut files = Vec::new();
    for entry in WalkDir::new(folder).follow_links(false).sort_by_file_name() {
        let entry = entry.map_err(|error| unreadable(folder, &error))?;
        if entry.file_type().is_file() {
            let name = entry.path().strip_prefix(folder).map_err(Failure::internal)?;
            files.push((name.to_string_lossy().into_owned(), entry.into_path()));
        }
    }
    files.sort();
    Ok(files)
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Reason::Internal, format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn goes_in_and_out_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model");
        std::fs::create_dir_all(model.join("sub")).unwrap();
        std::fs::write(model.join("sub/a"), "1").unwrap();
        std::fs::write(model.join("b"), "22").unwrap();
        let store = Store::open(format!("file://{}/store", folder.path().display())).unwrap();
        let stored = put_folder(&store, "models/r-1", &model).await.unwrap();
        assert_eq!(stored.size, 3);
        assert_eq!(stored.digest, digest_folder(&model).unwrap());
        let back = folder.path().join("back");
        get_folder(&store, "models/r-1", &back).await.unwrap();
        assert_eq!(stored.digest, digest_folder(&back).unwrap());
    }

    #[tokio::test]
    async fn large_files_go_through_in_pieces_under_the_digest_of_old() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model");
        std::fs::create_dir_all(&model).unwrap();
        // More than two pieces, and exactly one piece.
        for (name, size) in [("large", (17 << 20) + 17), ("even", 8 << 20), ("empty", 0)] {
            let bytes: Vec<u8> = (0..size).map(|i: usize| (i * 7 % 251) as u8).collect();
            std::fs::write(model.join(name), bytes).unwrap();
        }
        let store = Store::open(format!("file://{}/store", folder.path().display())).unwrap();
        let stored = put_folder(&store, "models/r-1", &model).await.unwrap();
        assert_eq!(stored.size, (17 << 20) + 17 + (8 << 20));
        // Digests that were kept with runs must stay what they were.
        let mut whole = Hasher::default();
        for name in ["empty", "even", "large"] {
            whole.field(name);
            whole.field(std::fs::read(model.join(name)).unwrap());
        }
        assert_eq!(stored.digest, whole.finish());
        let back = folder.path().join("back");
        get_folder(&store, "models/r-1", &back).await.unwrap();
        assert_eq!(stored.digest, digest_folder(&back).unwrap());
        assert_eq!(digest_stored(&store, "models/r-1").await.unwrap(), Some(stored.digest));
        assert_eq!(digest_stored(&store, "models/r-2").await.unwrap(), None);
    }
}
