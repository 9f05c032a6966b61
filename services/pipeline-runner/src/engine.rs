//! Drives versions and runs: takes them up, resumes them after a restart, cancels them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use kfops_core::Failure;
use kfops_resource::{Created, Table};
use kfops_rpc::Lifecycle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{ports::Ports, run::Run, settings::Settings, version::PipelineVersion};

/// The use cases over the tables and the ports.
pub(crate) struct Engine {
    pub(crate) settings: Settings,
    pub(crate) ports: Ports,
    pub(crate) versions: Table<PipelineVersion>,
    pub(crate) runs: Table<Run>,
    pub(crate) compiles: Semaphore,
    pub(crate) running: Semaphore,
    lifecycle: Lifecycle,
    /// Of the work under way, by resource name.
    open: Mutex<HashMap<String, CancellationToken>>,
}

impl Engine {
    pub(crate) fn new(
        settings: Settings,
        ports: Ports,
        versions: Table<PipelineVersion>,
        runs: Table<Run>,
        lifecycle: Lifecycle,
    ) -> Arc<Self> {
        Arc::new(Self {
            compiles: Semaphore::new(settings.max_compiles.max(1)),
            running: Semaphore::new(settings.max_runs.max(1)),
            settings,
            ports,
            versions,
            runs,
            lifecycle,
            open: Mutex::default(),
        })
    }

    /// Takes up what was open when the service ended.
    pub(crate) async fn resume(self: &Arc<Self>) -> Result<(), Failure> {
        for version in self.versions.open_records().await? {
            tracing::info!(pipeline_version = version.life.id, "resumed");
            self.drive_version(&version);
        }
        for run in self.runs.open_records().await? {
            tracing::info!(run = run.life.id, attempt = run.attempt, "resumed");
            self.drive_run(&run);
        }
        Ok(())
    }

    pub(crate) async fn create_version(self: &Arc<Self>, version: PipelineVersion) -> Result<PipelineVersion, Failure> {
        version.spec.validate()?;
        match self.versions.create(version).await? {
            Created::Existing(version) => Ok(version),
            Created::New(version) => {
                self.drive_version(&version);
                Ok(version)
            }
        }
    }

    pub(crate) async fn create_run(self: &Arc<Self>, run: Run) -> Result<Run, Failure> {
        let run = self.complete(run).await?;
        match self.runs.create(run).await? {
            Created::Existing(run) => Ok(run),
            Created::New(run) => {
                self.drive_run(&run);
                Ok(run)
            }
        }
    }

    pub(crate) async fn cancel_version(&self, id: &str) -> Result<PipelineVersion, Failure> {
        let version = self.versions.get(id).await?;
        if version.life.state.ended() {
            return Ok(version);
        }
        let version = self.versions.update(id, |version| version.life.cancel_requested = true).await?;
        self.cancel(&version.name());
        Ok(version)
    }

    pub(crate) async fn cancel_run(&self, id: &str) -> Result<Run, Failure> {
        let run = self.runs.get(id).await?;
        if run.life.state.ended() {
            return Ok(run);
        }
        let run = self.runs.update(id, |run| run.life.cancel_requested = true).await?;
        self.cancel(&run.name());
        Ok(run)
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.ports.clock.now()
    }

    fn drive_version(self: &Arc<Self>, version: &PipelineVersion) {
        let (engine, id) = (Arc::clone(self), version.life.id.clone());
        self.drive(version.name(), version.life.cancel_requested, async move |cancel| {
            let Err(failure) = engine.compile_version(&id, &cancel).await else { return Ok(()) };
            let now = engine.now();
            let end =
                move |version: &mut PipelineVersion| version.life.end(Some(given_up(failure, &version.name())), now);
            engine.versions.update_anyway(&id, end).await.map(|_| ())
        });
    }

    fn drive_run(self: &Arc<Self>, run: &Run) {
        let (engine, id) = (Arc::clone(self), run.life.id.clone());
        self.drive(run.name(), run.life.cancel_requested, async move |cancel| {
            let Err(failure) = engine.execute_run(&id, &cancel).await else { return Ok(()) };
            let now = engine.now();
            let end = move |run: &mut Run| run.life.end(Some(given_up(failure, &run.name())), now);
            engine.runs.update_anyway(&id, end).await.map(|_| ())
        });
    }

    /// Works in the background until the end, or until the service aborts: then the work is left as it is, its
    /// processes end with it, and the next start takes it up again.
    fn drive<Work, Done>(self: &Arc<Self>, name: String, canceled: bool, work: Work)
    where
        Work: FnOnce(CancellationToken) -> Done + Send + 'static,
        Done: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let token = CancellationToken::new();
        if canceled {
            token.cancel();
        }
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), token.clone());
        let (engine, aborting) = (Arc::clone(self), self.lifecycle.aborting());
        self.lifecycle.spawn(async move {
            tokio::select! {
                biased;
                () = aborting.cancelled() => tracing::info!(resource = name, "left for the next start"),
                done = work(token) => if let Err(failure) = done {
                    // Only a database that cannot even be read can bring us here; the record stays open.
                    tracing::error!(resource = name, reason = %failure.reason, error = %failure, "work stopped, the next start takes it up");
                }
            }
            engine.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        });
    }

    fn cancel(&self, name: &str) {
        if let Some(token) = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
            token.cancel();
        }
    }

    /// Ends when the service is asked to stop: what has not begun by then waits for the next start.
    pub(crate) fn stopping(&self) -> CancellationToken {
        self.lifecycle.stopping()
    }
}

/// Database or object store failed in the middle of the work.
fn given_up(failure: Failure, name: &str) -> Failure {
    tracing::error!(resource = name, reason = %failure.reason, error = %failure, "work given up");
    if failure.resource.is_empty() { failure.on(name) } else { failure }
}
