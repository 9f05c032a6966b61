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

use super::{
    Common, probe,
    wall::{self, View},
};
use crate::{local::jail, settings::Isolation};

/// Cleaning takes at most half of this.
const CLEANED: Duration = Duration::from_secs(120);

/// Between two looks whether somebody builds.
const AGAIN: Duration = Duration::from_secs(1);

/// A store with a driver that works.
#[derive(Debug, Clone)]
pub(super) struct Storage {
    program: &'static str,
    driver: &'static str,
    folder: Arc<PathBuf>,
    /// Whether builds see a root of their own.
    walled: bool,
    /// Killed builds may have left working containers.
    dirty: Arc<AtomicBool>,
    /// Somebody tries again until it can be cleaned.
    waits: Arc<AtomicBool>,
}

/// Held while a build uses the store; the kernel frees it with the process.
#[derive(Debug)]
pub(super) struct InUse(#[expect(dead_code, reason = "the lock lives as long as the open file")] File);

impl Storage {
    /// Behind a wall where that works; overlay where it works, vfs (slower, larger) where not.
    pub(super) async fn open(program: &'static str, common: &Common) -> Result<Self, String> {
        let wall = match common.settings.isolation {
            Isolation::Auto | Isolation::Chroot => wall::probe().await,
            // A runtime wants the machine's control groups.
            Isolation::Oci | Isolation::Rootless => Err("local.isolation is not chroot".into()),
        };
        let why = match wall {
            Ok(()) => match Self::with_driver(program, common, true).await {
                Ok(storage) => return Ok(storage),
                Err(reason) => reason,
            },
            Err(reason) => reason,
        };
        let storage = Self::with_driver(program, common, false).await?;
        tracing::warn!(
            program,
            why,
            action = "run as root with the package bubblewrap installed",
            "a Dockerfile's steps can reach the files of this machine"
        );
        Ok(storage)
    }

    async fn with_driver(program: &'static str, common: &Common, walled: bool) -> Result<Self, String> {
        let base = common.settings.cache_folder().join("containers");
        let mut reasons = Vec::new();
        for driver in ["overlay", "vfs"] {
            let folder = std::path::absolute(base.join(driver)).map_err(|error| error.to_string())?;
            for part in ["root", "run"] {
                let part = folder.join(part);
                std::fs::create_dir_all(&part).map_err(|error| format!("cannot make {}: {error}", part.display()))?;
            }
            let dirty = Arc::new(AtomicBool::new(true));
            let storage = Self { program, driver, folder: Arc::new(folder), walled, dirty, waits: Arc::default() };
            match probe::ask(storage.command(View::default()).await.arg("info")).await {
                Ok(_) => {
                    storage.clean().await;
                    return Ok(storage);
                }
                Err(reason) => reasons.push(format!("storage driver {driver}: {reason}")),
            }
        }
        Err(reasons.join(", "))
    }

    /// The program, with this store, and with `view` where builds do not see the whole machine.
    pub(super) async fn command(&self, mut view: View) -> Command {
        let (root, run) = (self.folder.join("root"), self.folder.join("run"));
        let command = if self.walled {
            view.writable.extend([root.clone(), run.clone()]);
            wall::command(self.program, &view)
        } else {
            jail::command(self.program).await
        };
        let command = command.arg("--root").arg(root).arg("--runroot").arg(run).args(["--storage-driver", self.driver]);
        if self.driver == "overlay" {
            // An archive or a base image may bring the node of a disk.
            command.args(["--storage-opt", "overlay.mountopt=nodev"])
        } else {
            command
        }
    }

    /// Waits while somebody cleans.
    pub(super) async fn acquire(&self) -> Result<InUse, Failure> {
        let folder = Arc::clone(&self.folder);
        let lock = tokio::task::spawn_blocking(move || {
            let file = File::create(folder.join("kfops.lock"))?;
            file.lock_shared()?;
            Ok::<_, std::io::Error>(file)
        });
        let unavailable = |error: &dyn std::fmt::Display| {
            Failure::new(Reason::StoreUnavailable, format!("layer store {}: {error}", self.folder.display()))
        };
        let late = |_| unavailable(&format!("somebody has held it for {} s", CLEANED.as_secs()));
        let lock = tokio::time::timeout(CLEANED, lock).await.map_err(late)?;
        lock.map_err(Failure::internal)?.map(InUse).map_err(|error| unavailable(&error))
    }

    /// After a build that was not carried through.
    pub(super) fn soil(&self) {
        self.dirty.store(true, Ordering::Release);
    }

    /// Removes the working containers that killed builds left: now, or as soon as nobody builds in this store.
    pub(super) async fn clean(&self) {
        if self.try_clean().await || self.waits.swap(true, Ordering::AcqRel) {
            return;
        }
        let storage = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(AGAIN).await;
                if storage.try_clean().await {
                    break;
                }
            }
            storage.waits.store(false, Ordering::Release);
        });
    }

    /// Whether that was all that can be done; false while somebody builds.
    async fn try_clean(&self) -> bool {
        if !self.dirty.load(Ordering::Acquire) {
            return true;
        }
        let Ok(lock) = File::create(self.folder.join("kfops.lock")) else { return true };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return false,
            Err(TryLockError::Error(error)) => {
                tracing::warn!(%error, "layer store not cleaned");
                return true;
            }
        }
        let arguments: &[&str] = if self.program == "podman" { &["rm", "--all", "--force"] } else { &["rm", "--all"] };
        let command = self.command(View::default()).await.args(arguments).timeout(Duration::from_secs(60));
        match command.run(&CancellationToken::new()).await {
            Ok(ended) if ended.success() => self.dirty.store(false, Ordering::Release),
            Ok(ended) => tracing::warn!(outcome = ended.describe(), output = ended.output, "layer store not cleaned"),
            Err(failure) => tracing::warn!(%failure, "layer store not cleaned"),
        }
        true
    }
}
