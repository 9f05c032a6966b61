//! Folders as sets of objects: how models are kept.

use std::path::{Path, PathBuf};

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
        let bytes = tokio::fs::read(&path).await.map_err(|error| unreadable(&path, &error))?;
        hasher.field(&name);
        hasher.field(&bytes);
        size += bytes.len() as u64;
        store.put(&format!("{prefix}/{name}"), bytes).await?;
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
        let bytes = store.get(&key).await?;
        tokio::fs::write(&target, bytes).await.map_err(|error| unreadable(&target, &error))?;
    }
    Ok(())
}

/// The digest that `put_folder` gives.
pub fn digest_folder(folder: &Path) -> Result<Digest, Failure> {
    let mut hasher = Hasher::default();
    for (name, path) in files(folder)? {
        hasher.field(&name);
        hasher.field(std::fs::read(&path).map_err(|error| unreadable(&path, &error))?);
    }
    Ok(hasher.finish())
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
        let store = Store::open(&format!("file://{}/store", folder.path().display())).unwrap();
        let stored = put_folder(&store, "models/r-1", &model).await.unwrap();
        assert_eq!(stored.size, 3);
        assert_eq!(stored.digest, digest_folder(&model).unwrap());
        let back = folder.path().join("back");
        get_folder(&store, "models/r-1", &back).await.unwrap();
        assert_eq!(stored.digest, digest_folder(&back).unwrap());
    }
}
