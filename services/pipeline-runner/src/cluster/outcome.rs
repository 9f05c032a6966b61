//! What became of a run, in words, with the logs of its tasks.

use std::time::Duration;

use kfops_core::{Failure, Reason};
use kfops_settings::HumanDuration;

use super::{
    execute::KfpExecutor,
    kfp::{Run, State as Kfp},
    objects,
    tasks::Found,
    watch::{Stop, Watched},
};
use crate::{
    life::{State, canceled},
    ports::RunJob,
};

impl KfpExecutor {
    /// Copies the logs of tasks; one that cannot be copied never fails the run.
    pub(super) async fn logs(&self, job: &RunJob, run: &Run, found: &mut [Found]) -> Vec<String> {
        let mut logs = Vec::new();
        let mut whole = format!("KFP run {}: {:?}\n", run.run_id, run.state());
        for found in found {
            let name = &found.task.name;
            let text = match &found.log {
                Some(key) => objects::log(&self.artifacts, key).await.unwrap_or_else(|failure| {
                    tracing::warn!(task = name, %failure, "log not read");
                    String::new()
                }),
                None => String::new(),
            };
            for line in text.lines() {
                whole.push_str(&format!("[{name}] {line}\n"));
            }
            if !text.is_empty() {
                match self.store.put(&format!("{}/{name}.log", job.log_prefix), text.clone()).await {
                    Ok(()) => found.task.logged = true,
                    Err(failure) => tracing::warn!(task = name, %failure, "log not stored"),
                }
            }
            logs.push(text);
        }
        if let Err(failure) = self.store.put(&job.log_key, whole).await {
            tracing::warn!(run = job.run, %failure, "log not stored");
        }
        logs
    }

    /// What became of the run, in words.
    pub(super) fn failure(&self, job: &RunJob, watched: &Watched, found: &[Found]) -> Option<Failure> {
        let name = format!("runs/{}", job.run);
        let id = &watched.run.run_id;
        let endless = |failure: Failure| {
            let limit = written(self.settings.terminate.get());
            let namespace = self.settings.namespace.as_deref().unwrap_or("kubeflow");
            let mut failure = failure.action(format!(
                "look with `kubectl get workflows -n {namespace} -l pipeline/runid={id}` and delete what is there"
            ));
            failure.message.push_str(&format!(
                "; KFP was asked to end its run {id} but has not within {limit}: it may still be running"
            ));
            failure
        };
        let failure = match (watched.run.state(), watched.stop) {
            (Kfp::Succeeded, _) => return None,
            (_, Some(Stop::Canceled)) => canceled(&name),
            (_, Some(Stop::TimedOut)) => {
                let open: Vec<&str> =
                    found.iter().filter(|f| f.task.state == State::Canceled).map(|f| f.task.name.as_str()).collect();
                let open = if open.is_empty() {
                    "no task was running".to_owned()
                } else {
                    format!("still running: {}", open.join(", "))
                };
                Failure::new(Reason::RunTimeout, format!("the run took longer than {}; {open}", written(job.timeout)))
                    .on(name)
            }
            _ => {
                return Some(found.iter().find_map(|found| found.task.failure.clone()).unwrap_or_else(|| {
                    let said: String = watched.run.error.message.chars().take(500).collect();
                    let said =
                        if said.is_empty() { "no task failed: it may have been ended in KFP".to_owned() } else { said };
                    Failure::new(Reason::TaskFailed, format!("the run {id} failed in KFP: {said}")).on(name)
                }));
            }
        };
        Some(if watched.endless { endless(failure) } else { failure })
    }
}

/// The failure of one task; up to 2.17 its log is all that says why.
pub(super) fn task_failure(job: &RunJob, found: &Found, log: &str) -> Failure {
    let name = &found.task.name;
    let last = log.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let last: String = last.chars().take(300).collect();
    let what = match (found.error.as_str(), last.as_str()) {
        ("", "") => "KFP gives no reason, and there is no log",
        ("", last) => last,
        (error, _) => error,
    };
    Failure::new(Reason::TaskFailed, format!("task `{name}` failed: {what}"))
        .on(format!("runs/{}/tasks/{name}", job.run))
        .log_tail(log)
}

/// As a setting is written.
fn written(duration: Duration) -> String {
    serde_json::to_value(HumanDuration(duration)).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}
