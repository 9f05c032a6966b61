//! Runs pipelines with `kfp.local`.
//!
//! Tasks are processes of the given Python environment, not containers of their images: `kfp.local`'s SubprocessRunner
//! runs lightweight Python components only. They see the network, but nothing of this machine's files that they could
//! change besides the run's own, where the sandbox allows it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use kfops_core::{Failure, Reason};
use kfops_process::{Ended, LogTail};
use kfops_settings::HumanDuration;
use kfops_store::Store;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{events::Events, leftovers, python::Python, read_plain, unusable, write};
use crate::{
    Settings,
    life::{State, canceled},
    ports::{Executor, Outcome, RunJob},
    run::Task,
    ship::{EVERY, Shipper},
};

const RUN: &str = include_str!("../python/run.py");
const TASK: &str = include_str!("../python/task.py");
/// How often events are looked for.
const TICK: Duration = Duration::from_millis(100);

pub(super) struct LocalExecutor {
    python: Python,
    store: Store,
    folder: PathBuf,
    environment: Vec<(String, String)>,
    keep: bool,
}

/// Where the files of one attempt lie.
struct Attempt(PathBuf);

impl Attempt {
    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
    fn task_log(&self, task: &str) -> PathBuf {
        self.0.join("logs").join(format!("{task}.log"))
    }
    fn result(&self) -> Option<RunResult> {
        serde_json::from_str(&read_plain(&self.file("result.json"), 64 * 1024).ok()?).ok()
    }
}

/// What run.py writes when it has ended by itself.
#[derive(Deserialize)]
struct RunResult {
    state: String,
    error: String,
}

impl LocalExecutor {
    pub(super) fn new(settings: &Settings, python: Python, store: Store, folder: PathBuf) -> Self {
        let environment = settings.task_environment.clone().into_iter().collect();
        Self { python, store, folder, environment, keep: settings.keep_artifacts }
    }

    fn attempt(&self, run: &str, attempt: i32) -> Attempt {
        Attempt(self.folder.join(run).join(attempt.to_string()))
    }

    /// A clean folder for the attempt, with all that run.py needs.
    fn prepare(&self, job: &RunJob, attempt: &Attempt) -> Result<(), Failure> {
        let run = self.folder.join(&job.run);
        if run.exists() {
            leftovers::end(&run);
            std::fs::remove_dir_all(&run).map_err(|error| unusable(&run, &error))?;
        }
        for name in ["artifacts", "home", "logs", "tmp", "workspace"] {
            let folder = attempt.file(name);
            std::fs::create_dir_all(&folder).map_err(|error| unusable(&folder, &error))?;
        }
        write(&attempt.file("run.py"), RUN)?;
        write(&attempt.file("task.py"), TASK)?;
        write(&attempt.file("spec.json"), job.pipeline.to_string())?;
        let request = json!({
            "run": job.run,
            "supervisor": attempt.file("task.py"),
            "spec": attempt.file("spec.json"),
            "arguments": job.arguments,
            "events": attempt.file("events.jsonl"),
            "logs": attempt.file("logs"),
            "result": attempt.file("result.json"),
            "environment": attempt.file("environment"),
            "pipeline_root": attempt.file("artifacts"),
            "workspace": attempt.file("workspace"),
            "traceparent": job.context.map(|context| context.to_string()),
        });
        write(&attempt.file("request.json"), request.to_string())
    }

    async fn process(
        &self,
        job: &RunJob,
        attempt: &Attempt,
        events: &mut Events,
        shipper: &mut Shipper,
        progress: &watch::Sender<Vec<Task>>,
        cancel: &CancellationToken,
    ) -> Result<Ended, Failure> {
        let mut command = self.python.command();
        for (key, value) in &self.environment {
            command = command.env(key, value);
        }
        if let Some(context) = job.context {
            command = command.env("TRACEPARENT", context.to_string());
        }
        let command = command
            .arg(attempt.file("run.py"))
            .arg(attempt.file("request.json"))
            .env("HOME", attempt.file("home"))
            .env("TMPDIR", attempt.file("tmp"))
            .env("PYTHONUNBUFFERED", "1")
            .cwd(attempt.file("home"))
            .log(attempt.file("log"))
            .timeout(job.timeout);
        let work = self.python.networked(command, &[&attempt.0]).run(cancel);
        tokio::pin!(work);
        let mut tick = tokio::time::interval(TICK);
        let mut often = tokio::time::interval(EVERY);
        loop {
            tokio::select! {
                ended = &mut work => return ended,
                _ = tick.tick() => if events.read() {
                    progress.send_replace(self.with_logs(events.tasks.clone(), attempt));
                },
                _ = often.tick() => self.ship(job, attempt, events, shipper).await,
            }
        }
    }

    async fn ship(&self, job: &RunJob, attempt: &Attempt, events: &Events, shipper: &mut Shipper) {
        shipper.ship(&job.log_key, &attempt.file("log"), std::convert::identity).await;
        for task in &events.tasks {
            let key = format!("{}/{}.log", job.log_prefix, task.name);
            shipper.ship(&key, &attempt.task_log(&task.name), std::convert::identity).await;
        }
    }

    fn with_logs(&self, mut tasks: Vec<Task>, attempt: &Attempt) -> Vec<Task> {
        for task in &mut tasks {
            task.logged = attempt.task_log(&task.name).is_file();
        }
        tasks
    }

    /// The failures of tasks, and of the run.
    fn outcome(&self, job: &RunJob, attempt: &Attempt, events: Events, ended: Option<&Ended>) -> Outcome {
        let mut tasks = self.with_logs(events.tasks, attempt);
        for task in tasks.iter_mut().filter(|task| task.state == State::Failed) {
            let error = events.errors.get(&task.name).map(String::as_str).unwrap_or_default();
            task.failure = Some(task_failure(job, attempt, &task.name, error));
        }
        let log = || LogTail::read(&attempt.file("log"), 16 * 1024);
        let name = format!("runs/{}", job.run);
        let running: Vec<&Task> = tasks.iter().filter(|task| task.state == State::Running).collect();
        let under_way = match running.as_slice() {
            [] => "no task was running".to_owned(),
            some => format!("still running: {}", some.iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(", ")),
        };
        let tail = |failure: Failure| match running.first() {
            Some(task) => failure.log_tail(&LogTail::read(&attempt.task_log(&task.name), 16 * 1024)),
            None => failure.log_tail(&log()),
        };
        let failure = match (attempt.result(), ended) {
            (Some(result), _) if result.state == "succeeded" => None,
            (Some(result), _) => Some(tasks.iter().find_map(|task| task.failure.clone()).unwrap_or_else(|| {
                let error: String = result.error.chars().take(500).collect();
                Failure::new(Reason::TaskFailed, format!("the run failed: {error}")).on(name).log_tail(&log())
            })),
            (None, Some(ended)) if ended.canceled => Some(canceled(&name)),
            (None, Some(ended)) if ended.timed_out => {
                let limit = serde_json::to_value(HumanDuration(job.timeout)).unwrap_or_default();
                let limit = limit.as_str().unwrap_or_default();
                let message = format!("the run took longer than {limit}; {under_way}");
                Some(tail(Failure::new(Reason::RunTimeout, message).on(name)))
            }
            (None, ended) => {
                let how = ended.map(Ended::describe).unwrap_or_default();
                let message = format!("the run ended without a result: {how}; {under_way}");
                Some(tail(Failure::new(Reason::TaskFailed, message).on(name)))
            }
        };
        Outcome { tasks, failure }
    }
}

#[async_trait]
impl Executor for LocalExecutor {
    async fn resumable(&self, run: &str, attempt: i32) -> bool {
        // Processes of an interrupted attempt ended with us; only what had finished can be gone on with.
        self.attempt(run, attempt).result().is_some()
    }

    async fn execute(
        &self,
        job: &RunJob,
        progress: watch::Sender<Vec<Task>>,
        cancel: &CancellationToken,
    ) -> Result<Outcome, Failure> {
        let attempt = self.attempt(&job.run, job.attempt);
        let mut events = Events::new(&attempt.file("events.jsonl"), job.tasks.clone());
        let mut shipper = Shipper::new(self.store.clone());
        let mut ended = None;
        if attempt.result().is_none() {
            self.prepare(job, &attempt)?;
            progress.send_replace(job.tasks.clone());
            ended = Some(self.process(job, &attempt, &mut events, &mut shipper, &progress, cancel).await?);
            // Where no sandbox works, a daemon may have left the process group.
            let folder = self.folder.join(&job.run);
            tokio::task::spawn_blocking(move || leftovers::end(&folder)).await.map_err(Failure::internal)?;
        }
        events.read();
        self.ship(job, &attempt, &events, &mut shipper).await;
        Ok(self.outcome(job, &attempt, events, ended.as_ref()))
    }

    async fn artifact(&self, run: &str, attempt: i32, uri: &str) -> Result<PathBuf, Failure> {
        let missing = |message: String| Failure::new(Reason::ModelMissing, message).on(format!("runs/{run}"));
        if uri.contains("://") {
            let uri: String = uri.chars().take(200).collect();
            let message = format!("the model's artifact lies at {uri}, which one machine cannot reach");
            return Err(missing(message).action("write the model to the output artifact's path"));
        }
        let root = self.attempt(run, attempt).file("artifacts");
        let root = root.canonicalize().map_err(|error| unusable(&root, &error))?;
        match Path::new(uri).canonicalize() {
            // A task may claim any path: only the run's own artifacts are copied.
            Ok(path) if path.starts_with(&root) && path != root => Ok(path),
            Ok(_) => Err(missing("the model's artifact lies outside of the run's folder".into())),
            Err(_) => Err(missing("the task declares the model's artifact but wrote nothing there".into())
                .action("write the model to the output artifact's path")),
        }
    }

    async fn discard(&self, run: &str) {
        if self.keep {
            return;
        }
        let folder = self.folder.join(run);
        if let Err(error) = tokio::fs::remove_dir_all(&folder).await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(folder = %folder.display(), %error, "not removed");
        }
    }
}

fn task_failure(job: &RunJob, attempt: &Attempt, task: &str, error: &str) -> Failure {
    let log = LogTail::read(&attempt.task_log(task), 16 * 1024);
    let last: String =
        log.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().chars().take(300).collect();
    let (what, action) = match error {
        "exit code 137" | "exit code -9" => ("it was killed, most likely for want of memory".to_owned(), ""),
        _ if error.contains("SubprocessRunner only supports") => (
            error.to_owned(),
            "on one machine only lightweight Python components (@dsl.component) run; a cluster runs the others",
        ),
        _ if error.starts_with("exit code") && last.starts_with("ModuleNotFoundError") => (
            last,
            "on one machine tasks run in Kfops' own Python environment (kfp, scikit-learn, pandas), not in the image that was \
             built: there is only what KServe's and KFP's Python packages bring along; in a cluster the image counts",
        ),
        _ if error.starts_with("exit code") && !last.is_empty() => (last, ""),
        "" => ("it gave no reason".to_owned(), ""),
        _ => (error.to_owned(), ""),
    };
    Failure::new(Reason::TaskFailed, format!("task `{task}` failed: {what}"))
        .on(format!("runs/{}/tasks/{task}", job.run))
        .action(action)
        .log_tail(&log)
}
