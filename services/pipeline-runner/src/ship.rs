//! Brings logs into the object store while they grow.

use std::{collections::HashMap, path::Path, time::Duration};

use kfops_process::LogTail;
use kfops_store::Store;

/// Longest end of a log that is kept.
pub(crate) const LIMIT: u64 = 32 * 1024 * 1024;
/// How often a growing log is brought.
pub(crate) const EVERY: Duration = Duration::from_secs(3);

/// Remembers what was brought. A log that cannot be brought never fails the work.
pub(crate) struct Shipper {
    store: Store,
    sizes: HashMap<String, u64>,
}

impl Shipper {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, sizes: HashMap::new() }
    }

    /// Brings the file when it has grown since the last time. `clean` is applied to its text.
    pub(crate) async fn ship(&mut self, key: &str, path: &Path, clean: impl Fn(String) -> String) {
        let Ok(meta) = std::fs::symlink_metadata(path) else { return };
        if !meta.is_file() || self.sizes.get(key) == Some(&meta.len()) {
            return;
        }
        match self.store.put(key, clean(LogTail::read(path, LIMIT))).await {
            Ok(()) => _ = self.sizes.insert(key.to_owned(), meta.len()),
            Err(failure) => tracing::warn!(key, error = %failure, "log not stored"),
        }
    }
}
