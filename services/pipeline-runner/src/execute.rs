//! Running a version: arguments, attempts, tasks, model.

use kfops_core::{Failure, Reason};
use kfops_telemetry::metrics::worked;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    arguments,
    engine::Engine,
    ir::Ir,
    life::{State, canceled},
    ports::{Outcome, RunJob},
    run::{Run, Task},
    spans,
};

impl Engine {
    /// Checks a new run against its version and fills in what follows from it.
    pub(crate) async fn complete(&self, mut run: Run) -> Result<Run, Failure> {
        let version = self.versions.get(&run.spec.version).await?;
        let name = version.name();
        match version.life.state {
            State::Succeeded => {}
            State::Pending | State::Running => {
                let failure = Failure::new(Reason::NoVersion, format!("{name} is not compiled yet"));
                return Err(failure.on("run.pipeline_version").action("wait until it is"));
            }
            _ => {
                let failure = Failure::new(Reason::NoVersion, format!("{name} was not compiled, so it cannot run"));
                return Err(failure.on("run.pipeline_version").action("build it again"));
            }
        }
        if run.spec.timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(Failure::new(Reason::InvalidArgument, "timeout must be longer than 0 s").on("run.timeout"));
        }
        run.spec.arguments =
            arguments::resolve(&version.parameters, std::mem::take(&mut run.spec.arguments), &version.life.id)?;
        run.pipeline = version.spec.pipeline;
        run.commit = version.spec.source.commit;
        Ok(run)
    }

    /// From pending (or interrupted) to an end.
    pub(crate) async fn execute_run(&self, id: &str, cancel: &CancellationToken) -> Result<(), Failure> {
        let stopping = self.stopping();
        let _permit = tokio::select! {
            biased;
            () = cancel.cancelled() => None,
            () = stopping.cancelled() => return Ok(()),
            permit = self.running.acquire() => Some(permit.map_err(Failure::internal)?),
        };
        let run = self.runs.get(id).await?;
        // What goes on without us must be told to end before it is called canceled.
        if cancel.is_cancelled() && !self.goes_on(&run).await {
            let failure = canceled(&run.name());
            return self.end_run(run, Some(failure)).await;
        }
        let run = self.begin(run).await?;
        let (run, failure) = match self.job(&run).await {
            Ok(job) => match self.watch(&run, &job, cancel).await? {
                Ok(outcome) => {
                    let run = Run { tasks: outcome.tasks, ..self.runs.get(id).await? };
                    match outcome.failure {
                        Some(failure) => (run, Some(failure)),
                        None => self.model_unless_canceled(run, cancel).await,
                    }
                }
                Err(failure) => (self.runs.get(id).await?, Some(failure)),
            },
            Err(failure) => (run, Some(failure)),
        };
        self.end_run(run, failure).await
    }

    /// Copying a large model takes a while.
    async fn model_unless_canceled(&self, run: Run, cancel: &CancellationToken) -> (Run, Option<Failure>) {
        tokio::select! {
            biased;
            () = cancel.cancelled() => {}
            kept = self.keep_model(run.clone()) => return kept,
        }
        if let Err(failure) = self.forget_model(&run).await {
            tracing::warn!(run = run.life.id, %failure, "half a model was left in the store");
        }
        let failure = canceled(&run.name());
        (run, Some(failure))
    }

    /// Counts the attempt before it begins; one that the executor can go on with counts once.
    async fn begin(&self, run: Run) -> Result<Run, Failure> {
        let goes_on = self.goes_on(&run).await;
        let now = self.now();
        self.runs
            .update(&run.life.id, move |run| {
                run.life.begin(now);
                if !goes_on {
                    run.attempt += 1;
                    run.tasks.clear();
                }
            })
            .await
    }

    async fn goes_on(&self, run: &Run) -> bool {
        run.attempt > 0 && self.ports.executor.resumable(&run.life.id, run.attempt).await
    }

    async fn job(&self, run: &Run) -> Result<RunJob, Failure> {
        let version = self.versions.get(&run.spec.version).await?;
        let bytes = self.ports.store.get(&version.spec_key()).await?;
        let ir = Ir::parse(&String::from_utf8_lossy(&bytes))?;
        Ok(RunJob {
            run: run.life.id.clone(),
            attempt: run.attempt,
            tasks: ir.tasks(),
            version: run.spec.version.clone(),
            pipeline_name: run.pipeline.clone(),
            commit: run.commit.clone(),
            experiment: run.spec.experiment.clone(),
            pipeline: ir.pipeline,
            platform: ir.platform,
            arguments: run.spec.arguments.clone(),
            timeout: run.spec.timeout.unwrap_or(self.settings.run_timeout.get()),
            context: run.life.trace.map(|caller| caller.child(&run.name())),
            log_key: run.log_key(),
            log_prefix: format!("logs/runs/{}", run.life.id),
        })
    }

    /// Executes it and keeps the tasks as they change. The outer error is one of the database.
    async fn watch(
        &self,
        run: &Run,
        job: &RunJob,
        cancel: &CancellationToken,
    ) -> Result<Result<Outcome, Failure>, Failure> {
        let (sender, mut receiver) = watch::channel(Vec::<Task>::new());
        let work = self.ports.executor.execute(job, sender, cancel);
        tokio::pin!(work);
        loop {
            tokio::select! {
                outcome = &mut work => return Ok(outcome),
                Ok(()) = receiver.changed() => {
                    let (tasks, now) = (receiver.borrow_and_update().clone(), self.now());
                    self.runs.update(&run.life.id, move |run| {
                        run.tasks = tasks;
                        run.life.update_time = now;
                    }).await?;
                }
            }
        }
    }

    async fn end_run(&self, mut run: Run, failure: Option<Failure>) -> Result<(), Failure> {
        let now = self.now();
        let name = run.name();
        let failure = failure.map(|failure| if failure.resource.is_empty() { failure.on(&name) } else { failure });
        for task in &mut run.tasks {
            let state = match task.state {
                State::Running if failure.as_ref().is_some_and(|f| f.reason == Reason::Canceled) => State::Canceled,
                State::Running => State::Failed,
                _ => State::Skipped,
            };
            let reason = failure.clone().filter(|_| state == State::Failed);
            task.end(state, reason, now);
        }
        run.life.end(failure, now);
        worked("runs", run.life.failure.as_ref(), (run.life.create_time, now));
        if let Some(failure) = &run.life.failure {
            tracing::info!(run = run.life.id, reason = %failure.reason, error = %failure, "run not successful");
        } else {
            tracing::info!(run = run.life.id, model = run.model.is_some(), "run succeeded");
        }
        spans::of_run(&run).into_iter().for_each(|span| self.ports.tracer.record(span));
        self.ports.tracer.flush_before_end().await;
        let id = run.life.id.clone();
        self.runs
            .update_anyway(&id, move |kept| {
                // A cancellation that came too late stays on record.
                run.life.cancel_requested |= kept.life.cancel_requested;
                *kept = run;
            })
            .await?;
        self.ports.executor.discard(&id).await;
        Ok(())
    }
}
