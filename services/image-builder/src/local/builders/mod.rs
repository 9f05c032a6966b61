//! The programs that build images: the first that works on this machine.

mod buildah;
mod buildkit;
mod docker;
mod probe;
mod storage;
mod wall;

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use kfops_core::{Failure, Reason};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    ports::{Builder, Job, Pushed},
    settings::{LocalSettings, Settings},
};

/// What every program needs to know.
#[derive(Debug, Clone)]
struct Common {
    settings: LocalSettings,
    auth_file: Option<PathBuf>,
    embedded: Option<String>,
}

/// Builds with the first program that works.
pub(crate) struct LocalBuilder {
    common: Common,
    chosen: Mutex<Option<Arc<dyn Builder>>>,
}

impl LocalBuilder {
    pub(crate) fn new(settings: &Settings, embedded: Option<String>) -> Self {
        // Builders may have another working folder.
        let auth_file =
            settings.registry.auth_file.as_ref().map(|file| std::path::absolute(file).unwrap_or(file.clone()));
        let common = Common { settings: settings.local.clone(), auth_file, embedded };
        Self { common, chosen: Mutex::default() }
    }

    /// Found out at the first build, and again at the next one when nothing worked: it may be installed by then.
    async fn chosen(&self) -> Result<Arc<dyn Builder>, Failure> {
        let mut chosen = self.chosen.lock().await;
        if let Some(builder) = &*chosen {
            return Ok(Arc::clone(builder));
        }
        let builder = probe::first_that_works(&self.common).await?;
        Ok(Arc::clone(chosen.insert(builder)))
    }
}

#[async_trait]
impl Builder for LocalBuilder {
    async fn build(&self, job: &Job, cancel: &CancellationToken) -> Result<Pushed, Failure> {
        let builder = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(canceled()),
            builder = self.chosen() => builder?,
        };
        builder.build(job, cancel).await
    }
}

fn canceled() -> Failure {
    Failure::new(Reason::Canceled, "canceled")
}

/// For programs whose daemon does not read our registry configuration.
fn refuse_stand_in(job: &Job, program: &str) -> Result<(), Failure> {
    if !job.stand_in {
        return Ok(());
    }
    Err(Failure::new(
        Reason::BuilderMissing,
        format!("{program} cannot use the stand-in base image of this machine's registry"),
    )
    .action("install buildah, or connect this machine to the public image registry"))
}
