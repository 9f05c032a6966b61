//! Where buildah and podman keep layers: a store of our own in the cache folder, shared by every Kfops of this user.

use std::{
    fs::{File, TryLockError},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kfops_core::{Failure, Reason};
use kfops_process::Command;
use tokio_util::sync::CancellationToken;

use super::{Common, probe};
use crate::local::jail;

/// A store with a driver that works.
#[derive(Debug, Clone)]
pub(super) struct Storage {
    program: &'static str,
    driver: &'static str,
    folder: Arc<PathBuf>,
    /// Killed builds may have left working containers.
    dirty: Arc<AtomicBool>,
}

/// Held while a build uses the store; the kernel frees it with the process.
#[derive(Debug)]
pub(super) struct InUse(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

impl Storage {
    /// overlay where it works, vfs (slower, larger) where not.
    pub(super) async fn open(program: &'static str, common: &Common) -> Result<Self, String> {
        let base = common.settings.cache_folder().join("containers");
        let mut reasons = Vec::new();
        for driver in ["overlay", "vfs"] {
            let folder = base.join(driver);
            std::fs::create_dir_all(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
            let storage = Self { program, driver, folder: Arc::new(folder), dirty: Arc::new(AtomicBool::new(true)) };
            match probe::ask(storage.command().await.arg("info")).await {
                Ok(_) => {
                    storage.clean().await;
                    return Ok(storage);
                }
                Err(reason) => reasons.push(format!("storage driver {driver}: {reason}")),
            }
        }
        Err(reasons.join(", "))
    }

    /// The program, with this store.
    pub(super) async fn command(&self) -> Command {
        jail::command(self.program)
            .await
            .arg("--root")
            .arg(self.folder.join("root"))
            .arg("--runroot")
            .arg(self.folder.join("run"))
            .args(["--storage-driver", self.driver])
    }

    /// Waits while somebody cleans.
    pub(super) async fn acquire(&self) -> Result<InUse, Failure> {
        let folder = Arc::clone(&self.folder);
        let lock = tokio::task::spawn_blocking(move || {
            let file = File::create(folder.join("kfops.lock"))?;
            file.lock_shared()?;
            Ok::<_, std::io::Error>(file)
        });
        lock.await.map_err(Failure::internal)?.map(InUse).map_err(|error| {
            Failure::new(Reason::StoreUnavailable, format!("layer store {}: {error}", self.folder.display()))
        })
    }

    /// After a build that was not carried through.
    pub(super) fn soil(&self) {
        self.dirty.store(true, Ordering::Release);
    }

    /// Removes the working containers that killed builds left, as soon as nobody builds in this store.
    pub(super) async fn clean(&self) {
        if !self.dirty.load(Ordering::Acquire) {
            return;
        }
        let Ok(lock) = File::create(self.folder.join("kfops.lock")) else { return };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return,
            Err(TryLockError::Error(error)) => {
                tracing::warn!(%error, "layer store not cleaned");
                return;
            }
        }
        let arguments: &[&str] = if self.program == "podman" { &["rm", "--all", "--force"] } else { &["rm", "--all"] };
        let command = self.command().await.args(arguments).timeout(Duration::from_secs(60));
        match command.run(&CancellationToken::new()).await {
            Ok(ended) if ended.success() => self.dirty.store(false, Ordering::Release),
            Ok(ended) => tracing::warn!(outcome = ended.describe(), output = ended.output, "layer store not cleaned"),
            Err(failure) => tracing::warn!(%failure, "layer store not cleaned"),
        }
    }
}
