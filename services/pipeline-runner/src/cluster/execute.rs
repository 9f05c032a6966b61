//! Runs pipelines in KFP: brings the run there, watches it, ends it, fetches what it wrote.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use futures::FutureExt as _;
use kfops_core::{Clock, Failure, Reason};
use kfops_store::Store;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    kfp::{Client, Health, Run},
    locate::{self, Locate, Metadata},
    objects::{self, Root},
    outcome::task_failure,
    root::Roots,
    settings::KfpSettings,
    spec::{Spec, without_caching},
    submit::{Submit, run_id},
    tasks::{Found, Names, fold, with_pending},
    watch::Shown,
};
use crate::{
    life::State,
    ports::{Executor, Outcome, RunJob},
    run::Task,
};

pub(super) struct KfpExecutor {
    pub(super) client: Client,
    pub(super) settings: KfpSettings,
    /// The pipeline root's.
    pub(super) artifacts: Store,
    pub(super) metadata: Option<Metadata>,
    /// Kfops' own, for logs.
    pub(super) store: Store,
    pub(super) roots: Roots,
    pub(super) folder: PathBuf,
    pub(super) clock: Arc<dyn Clock>,
}

impl KfpExecutor {
    fn id(&self, run: &str, attempt: i32) -> String {
        run_id(self.settings.namespace.as_deref(), run, attempt)
    }

    /// How artifacts are found in an installation that says this of itself.
    pub(super) fn way(&self, health: &Health) -> Result<Box<dyn Locate>, Failure> {
        let locate =
            locate::choose(self.settings.artifact_location, &health.version, &self.artifacts, self.metadata.as_ref());
        tracing::info!(version = health.version, multi_user = health.multi_user, view = locate.full(), "KFP");
        if health.multi_user && self.settings.namespace.is_none() {
            let failure =
                Failure::new(Reason::InvalidArgument, "this KFP has users: it wants a namespace for each run");
            return Err(failure.on("kfp.namespace").action("set kfp.namespace to the profile's namespace"));
        }
        Ok(locate)
    }

    /// Says early what KFP is, and what will not work. One that is away may come back.
    pub(super) async fn probe(&self) -> Result<(), Failure> {
        match self.client.health().await {
            Ok(health) => self.way(&health).map(|_| ()),
            Err(problem) => {
                tracing::warn!(%problem, "KFP does not say what it is");
                Ok(())
            }
        }
    }

    /// Where the tasks' artifacts and logs are; the object store may need a while.
    async fn locate(
        &self,
        locate: &dyn Locate,
        run: &Run,
        spec: &Spec,
        root: &Root,
        found: &mut [Found],
    ) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            match locate.locate(run, spec, root, found).await {
                Err(failure) if failure.retryable && begun.elapsed() < self.settings.patience.get() => {
                    tracing::warn!(kfp_run = run.run_id, %failure, "artifacts not found yet");
                    tokio::time::sleep(self.settings.poll.get()).await;
                }
                done => return done,
            }
        }
    }
}

#[async_trait]
impl Executor for KfpExecutor {
    async fn resumable(&self, _run: &str, _attempt: i32) -> bool {
        // The run goes on in KFP whatever becomes of us, under an id that we know.
        true
    }

    async fn execute(
        &self,
        job: &RunJob,
        progress: watch::Sender<Vec<Task>>,
        cancel: &CancellationToken,
    ) -> Result<Outcome, Failure> {
        let id = self.id(&job.run, job.attempt);
        let submit = Submit { client: &self.client, settings: &self.settings, folder: &self.folder, cancel };
        // Asked for each run: it may have become another one.
        let unless = submit.unless(&id);
        let health = submit.persist("asking KFP what it is", &unless, || self.client.health().boxed());
        let locate = self.way(&health.await?)?;
        let root = self.roots.get().await?;
        let spec = Spec::of(&job.pipeline);
        let mut pipeline = job.pipeline.clone();
        if !locate.full() {
            without_caching(&mut pipeline);
        }
        let documents: Vec<_> = std::iter::once(&pipeline).chain(&job.platform).collect();
        let run = submit.run(job, &id, &root.text, &documents, locate.full()).await?;
        let shown = Shown { spec: &spec, progress: &progress };
        let watched = self.watch(job, run, locate.as_ref(), &shown, cancel).await?;

        let mut found = fold(&watched.run, &spec, &mut Names::default());
        if !watched.endless {
            self.locate(locate.as_ref(), &watched.run, &spec, &root, &mut found).await?;
        }
        let logs = self.logs(job, &watched.run, &mut found).await;
        for (found, log) in found.iter_mut().zip(&logs) {
            let running = matches!(found.task.state, State::Running | State::Pending);
            let failed = found.task.state == State::Failed;
            if watched.stop.is_some() && (running || (failed && !watched.failed_before.contains(&found.id))) {
                found.task.state = State::Canceled;
                found.task.end_time = found.task.end_time.or_else(|| found.task.start_time.map(|_| self.clock.now()));
            } else if failed {
                let failure = task_failure(job, found, log);
                found.task.failure = Some(failure);
            }
        }
        let failure = self.failure(job, &watched, &found);
        Ok(Outcome { tasks: with_pending(&found, &job.tasks), failure })
    }

    async fn artifact(&self, run: &str, attempt: i32, uri: &str) -> Result<PathBuf, Failure> {
        let missing = |message: String| Failure::new(Reason::ModelMissing, message).on(format!("runs/{run}"));
        let root = self.roots.get().await?;
        let Some(key) = root.key_of(uri) else {
            let uri: String = uri.chars().filter(|c| !c.is_control()).take(200).collect();
            let message = format!("the model's artifact lies at {uri}, outside of the pipeline root {}", root.text);
            return Err(missing(message).action("write the model to the output artifact's path"));
        };
        let into = self.folder.join(self.id(run, attempt));
        // Half of it, from before a restart.
        tokio::fs::remove_dir_all(&into).await.ok();
        objects::fetch(&self.artifacts, &key, &into).await?.ok_or_else(|| {
            missing("the task declares the model's artifact but wrote nothing there".into())
                .action("write the model to the output artifact's path")
        })
    }

    async fn discard(&self, run: &str) {
        // Attempts are few.
        for attempt in 1..=100 {
            let id = self.id(run, attempt);
            let posted = tokio::fs::remove_file(self.folder.join(format!("{id}.posted"))).await;
            let copied = tokio::fs::remove_dir_all(self.folder.join(&id)).await;
            if posted.is_err() && copied.is_err() && attempt > 1 {
                return;
            }
        }
    }
}
