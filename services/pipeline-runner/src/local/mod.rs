//! The ports over one machine: a Python environment, a sandbox, `kfp.local`.

mod compile;
mod events;
mod execute;
mod leftovers;
mod python;

use std::{path::Path, sync::Arc};

use kfops_core::{Failure, Reason, SystemClock};
use kfops_process::Sandbox;
use kfops_store::Store;
use kfops_telemetry::Tracer;

use self::{compile::LocalCompiler, execute::LocalExecutor, python::Python};
use crate::{Ports, Settings};

impl Ports {
    /// One machine. Finds out how it can isolate, and says so in the log.
    pub async fn local(settings: &Settings, tracer: Tracer) -> Result<Self, Failure> {
        let state = folder(&settings.state)?;
        let store = Store::open(&settings.store)?;
        let mut hidden = settings.hide.clone();
        hidden.push(state.clone());
        hidden.extend(store.local_path("x").and_then(|path| path.parent().map(Path::to_path_buf)));
        let sandbox = Sandbox::detect().await;
        if sandbox == Sandbox::Bubblewrap {
            tracing::info!(%sandbox, "pipelines compile in a sandbox");
        } else {
            tracing::warn!(%sandbox, "pipelines compile in a weak sandbox: install bubblewrap and allow user namespaces");
        }
        let python = Python::new(&settings.python, sandbox, hidden);
        python.probe().await;
        Ok(Self {
            compiler: Arc::new(LocalCompiler::new(
                settings,
                python.clone(),
                store.clone(),
                folder(&state.join("compile"))?,
            )),
            executor: Arc::new(LocalExecutor::new(settings, python, store.clone(), folder(&state.join("runs"))?)),
            store,
            tracer,
            clock: Arc::new(SystemClock),
        })
    }
}

/// Makes a folder; its real path.
pub(crate) fn folder(path: &Path) -> Result<std::path::PathBuf, Failure> {
    std::fs::create_dir_all(path).and_then(|()| path.canonicalize()).map_err(|error| {
        Failure::new(Reason::StoreUnavailable, format!("cannot use folder {}: {error}", path.display()))
    })
}

/// A fault of this machine's files.
fn unusable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::internal(format!("{}: {error}", path.display()))
}

/// Writes a file and the folders above it.
fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<(), Failure> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| unusable(parent, &error))?;
    }
    std::fs::write(path, text).map_err(|error| unusable(path, &error))
}

/// Reads what untrusted code has written: a regular file at its own place, no link and not too long.
fn read_plain(path: &Path, limit: u64) -> Result<String, String> {
    let read = || {
        let real = path.canonicalize()?;
        let meta = std::fs::symlink_metadata(path)?;
        if real != path || !meta.is_file() {
            return Err(std::io::Error::other("is not a regular file"));
        }
        if meta.len() > limit {
            return Err(std::io::Error::other(format!("is larger than {limit} bytes")));
        }
        let bytes = kfops_process::read_regular(path, limit)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().map_err(|error| error.to_string())
}
