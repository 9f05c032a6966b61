//! Watching a run to its end, and ending it when somebody wants that or its time is up.

use std::collections::HashSet;

use kfops_core::{Failure, Reason};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    execute::KfpExecutor,
    kfp::{Problem, Run, State as Kfp, moment},
    locate::Locate,
    spec::Spec,
    submit::time_left,
    tasks::{Found, Names, fold, with_pending},
};
use crate::{life::State, ports::RunJob, run::Task};

/// Further reads of an ended run whose tasks have not all ended: they can lag.
const LAG: usize = 5;

/// Why a run is being ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Canceled,
    TimedOut,
}

/// How watching a run ended.
pub(super) struct Watched {
    pub(super) run: Run,
    pub(super) stop: Option<Stop>,
    /// Ids of tasks that had failed before the run was asked to end.
    pub(super) failed_before: HashSet<String>,
    /// It was asked to end, and has not.
    pub(super) endless: bool,
}

/// What the outside sees of a run under way.
pub(super) struct Shown<'a> {
    pub(super) spec: &'a Spec,
    pub(super) progress: &'a watch::Sender<Vec<Task>>,
}

impl Shown<'_> {
    fn show(&self, found: &[Found], job: &RunJob) {
        let tasks = with_pending(found, &job.tasks);
        self.progress.send_if_modified(|shown| {
            let changed = *shown != tasks;
            *shown = tasks;
            changed
        });
    }
}

impl KfpExecutor {
    /// Until it has ended, or will not.
    pub(super) async fn watch(
        &self,
        job: &RunJob,
        mut run: Run,
        locate: &dyn Locate,
        shown: &Shown<'_>,
        cancel: &CancellationToken,
    ) -> Result<Watched, Failure> {
        let mut names = Names::default();
        let deadline = Instant::now() + time_left(job.timeout, moment(&run.created_at), self.clock.now());
        let mut seen = Instant::now();
        let mut stop: Option<(Stop, Instant, bool)> = None;
        let mut failed_before = HashSet::new();
        let id = run.run_id.clone();
        loop {
            let found = fold(&run, shown.spec, &mut names);
            shown.show(&found, job);
            if run.state().ended() {
                break;
            }
            let why = match () {
                () if cancel.is_cancelled() => Some(Stop::Canceled),
                () if Instant::now() >= deadline => Some(Stop::TimedOut),
                () => None,
            };
            if let (Some(why), None) = (why, &stop) {
                failed_before = found.iter().filter(|f| f.task.state == State::Failed).map(|f| f.id.clone()).collect();
                stop = Some((why, Instant::now(), false));
            }
            if let Some((why, since, asked)) = &mut stop {
                if since.elapsed() >= self.settings.terminate.get() {
                    return Ok(Watched { run, stop: Some(*why), failed_before, endless: true });
                }
                if !*asked {
                    match self.client.terminate(&id).await {
                        Ok(()) => *asked = true,
                        // A workflow that is gone is answered with 500: it is asked again, and ends by the time limit.
                        Err(problem) => tracing::warn!(run = job.run, kfp_run = id, %problem, "not ended yet"),
                    }
                }
            }
            self.pause(deadline, stop.is_some(), cancel).await;
            match self.client.run(&id, locate.full()).await {
                Ok(Some(next)) => (run, seen) = (next, Instant::now()),
                Ok(None) => return Err(self.deleted(job, &id)),
                Err(problem) if seen.elapsed() >= self.settings.patience.get() => return Err(self.away(&problem, &id)),
                Err(problem) => tracing::warn!(run = job.run, kfp_run = id, %problem, "KFP does not answer"),
            }
        }
        let stop = stop.map(|(why, ..)| why);
        Ok(Watched { run: self.settled(run, locate, shown.spec).await, stop, failed_before, endless: false })
    }

    /// Until the next look. A cancellation and the time limit cut it short, once.
    async fn pause(&self, deadline: Instant, stopping: bool, cancel: &CancellationToken) {
        tokio::select! {
            () = tokio::time::sleep(self.settings.poll.get()) => {}
            () = cancel.cancelled(), if !stopping => {}
            () = tokio::time::sleep_until(deadline), if !stopping => {}
        }
    }

    /// The run once its tasks have ended too.
    async fn settled(&self, mut run: Run, locate: &dyn Locate, spec: &Spec) -> Run {
        for _ in 0..LAG {
            let found = fold(&run, spec, &mut Names::default());
            let open = found.iter().any(|found| matches!(found.task.state, State::Pending | State::Running));
            // A run that succeeded has run something.
            let nothing_yet = found.is_empty() && run.state() == Kfp::Succeeded;
            if !open && !nothing_yet {
                break;
            }
            tokio::time::sleep(self.settings.poll.get()).await;
            match self.client.run(&run.run_id, locate.full()).await {
                Ok(Some(next)) => run = next,
                Ok(None) => break,
                Err(problem) => tracing::warn!(kfp_run = run.run_id, %problem, "KFP does not answer"),
            }
        }
        run
    }

    fn deleted(&self, job: &RunJob, id: &str) -> Failure {
        Failure::new(Reason::TaskFailed, format!("the run {id} was deleted in KFP")).on(format!("runs/{}", job.run))
    }

    fn away(&self, problem: &Problem, id: &str) -> Failure {
        let mut failure = problem.failure(&format!("watching the run {id}"));
        failure.message.push_str("; it may still be running there");
        failure
    }
}
