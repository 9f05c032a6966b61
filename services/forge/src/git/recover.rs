//! Locks that a git process left behind when the machine or the forge was killed. Nobody else uses these repositories,
//! so that a lock that outlives a moment at the start has no owner.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Git;

/// How long a git process of a forge that was killed may still need.
const MOMENT: Duration = Duration::from_millis(500);

impl Git {
    /// Removes locks without an owner.
    pub(crate) async fn recover(&self) {
        let root = self.repositories.clone();
        let look = move || locks(&root);
        let found = tokio::task::spawn_blocking(look).await.unwrap_or_default();
        if found.is_empty() {
            return;
        }
        tokio::time::sleep(MOMENT).await;
        for lock in found {
            if tokio::fs::remove_file(&lock).await.is_ok() {
                tracing::warn!(lock = %lock.display(), "stale lock removed");
            }
        }
    }
}

/// Lock files of refs and settings; objects have none.
fn locks(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && name != "objects" => folders.push(path),
                Ok(kind) if kind.is_file() && path.extension().is_some_and(|end| end == "lock") => found.push(path),
                _ => {}
            }
        }
    }
    found
}
