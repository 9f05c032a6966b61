//! The pipeline runner: compiles a repository's KFP 2 pipeline in a sandbox, pins it to the images of its build and
//! keeps it as a version; runs versions, reports their tasks, and copies the model that they train into the model store.
//!
//! On one machine (`local`) pipelines run with `kfp.local`: tasks are processes of one Python environment, not
//! containers of the images that the specification names, and only lightweight Python components can run. In a cluster
//! (`cluster`) pipelines compile in pods without network, and tasks run in their images, by Kubeflow Pipelines.

mod api;
mod arguments;
mod cluster;
mod compile;
mod engine;
mod execute;
mod explain;
mod ir;
mod life;
mod local;
mod model;
mod pin;
mod ports;
mod programs;
mod run;
mod settings;
mod ship;
mod spans;
mod version;

#[cfg(test)]
mod resume_tests;

use kfops_core::Failure;
use kfops_resource::Table;
use kfops_rpc::{Lifecycle, ServeError};
use tokio::net::TcpListener;

pub use ports::{CompileJob, Compiler, Executor, Outcome, Ports, RunJob};
pub use run::{ModelSource, Task};
pub use settings::{ArtifactLocation, KfpSettings, SandboxNetwork, SandboxSettings, Settings};
pub use version::{Image, Source};

use self::{engine::Engine, run::Run, version::PipelineVersion};

/// The pipeline runner, not yet listening.
pub struct Service {
    settings: Settings,
    ports: Ports,
    versions: Table<PipelineVersion>,
    runs: Table<Run>,
}

impl Service {
    /// Opens the state.
    pub async fn build(settings: Settings, ports: Ports) -> Result<Self, Failure> {
        let database = settings.state.join("pipelines.db");
        Ok(Self { versions: Table::open(&database)?, runs: Table::open(&database)?, settings, ports })
    }

    /// Takes up what was open, then serves until the lifecycle stops; then finishes what ends within the patience of
    /// the settings. The rest is taken up by the next start.
    pub async fn serve(self, listener: TcpListener, lifecycle: Lifecycle) -> Result<(), Error> {
        let patience = self.settings.patience.get();
        let tracer = self.ports.tracer.clone();
        let engine = Engine::new(self.settings, self.ports, self.versions, self.runs, lifecycle.clone());
        engine.resume().await?;
        let served = kfops_rpc::serve(listener, api::routes(engine), api::NAMES, &lifecycle).await;
        lifecycle.finish(patience).await;
        // Flushing blocks; a dead collector must not hold up the end.
        tokio::task::spawn_blocking(move || tracer.flush()).await.ok();
        Ok(served?)
    }
}

/// The service ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Of its state.
    #[error(transparent)]
    State(#[from] Failure),
    /// Of its server.
    #[error(transparent)]
    Serve(#[from] ServeError),
}
