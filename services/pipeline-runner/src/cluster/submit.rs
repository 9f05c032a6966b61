//! From a job to a run that KFP knows: exactly one.
//!
//! Creating a run is not idempotent. Its id is ours; it is looked up before the one request that creates it; that the
//! request was made is written down before it is made; and an answer that leaves open whether it worked leads to looking,
//! never to asking again.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use futures::{FutureExt as _, future::BoxFuture};
use kfops_core::{Digest, Failure, Reason, short_hash};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    kfp::{Client, Problem, Run, RunRequest, safe_name},
    settings::KfpSettings,
    spec::{passable, same, upload_text},
};
use crate::{life::canceled, ports::RunJob};

/// Most uploads of one text that KFP answers with a fault of its own.
const UPLOADS: usize = 3;

/// Brings runs into KFP.
pub(super) struct Submit<'a> {
    pub(super) client: &'a Client,
    pub(super) settings: &'a KfpSettings,
    pub(super) folder: &'a std::path::Path,
    pub(super) cancel: &'a CancellationToken,
}

/// The id of an attempt in KFP: a UUID (version 8), the same each time.
pub(super) fn run_id(namespace: Option<&str>, run: &str, attempt: i32) -> String {
    let hash = short_hash(&["kfp-run", namespace.unwrap_or_default(), run, &attempt.to_string()], 32);
    let part = |from: usize, to: usize| hash.get(from..to).unwrap_or_default();
    format!("{}-{}-8{}-a{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}

impl Submit<'_> {
    /// The run of the job, new or from before. `full` as in `Client::run`.
    pub(super) async fn run(
        &self,
        job: &RunJob,
        id: &str,
        root: &str,
        documents: &[&Value],
        full: bool,
    ) -> Result<Run, Failure> {
        let unless = self.unless(id);
        let found = self.persist("looking for the run", &unless, || self.client.run(id, full).boxed()).await?;
        if let Some(run) = found {
            tracing::info!(run = job.run, kfp_run = id, "KFP knows this run already");
            return Ok(run);
        }
        let name = safe_name(&format!("{} {} {}", job.pipeline_name, job.run, job.attempt));
        if self.posted(id).exists() {
            return self.look_up(job, id, &name, full, "the service ended while the run was being created").await;
        }
        passable(&job.arguments)?;
        let text = upload_text(documents)?;
        let experiment = self.experiment(job).await?;
        let (pipeline, version) = self.version(job, &text, documents).await?;
        if self.cancel.is_cancelled() {
            return Err(canceled(&format!("runs/{}", job.run)));
        }
        let request = RunRequest {
            run_id: id,
            name: &name,
            description: &format!("Kfops run {}, pipeline version {}, commit {}", job.run, job.version, job.commit),
            experiment: &experiment,
            pipeline: &pipeline,
            version: &version,
            arguments: &job.arguments,
            pipeline_root: root,
            service_account: self.settings.service_account.as_deref(),
        };
        self.create(job, &request, full).await
    }

    /// The one request, once. What has surely had no effect is done again.
    async fn create(&self, job: &RunJob, request: &RunRequest<'_>, full: bool) -> Result<Run, Failure> {
        let doing = "creating the run";
        let posted = self.posted(request.run_id);
        write_down(posted.clone()).await?;
        let begun = Instant::now();
        let problem = loop {
            match self.client.create_run(request).await {
                Ok(run) if run.run_id == request.run_id => return Ok(run),
                Ok(run) => {
                    let message = format!("{doing}: KFP gave it the id {} instead of ours", text(&run.run_id));
                    return Err(Failure::new(Reason::ClusterRefused, message).action("KFP 2.17 or later is needed"));
                }
                Err(problem) if problem.may_have_worked() => break problem,
                Err(problem) if problem.passes() && begun.elapsed() < self.settings.patience.get() => {
                    tracing::warn!(run = job.run, %problem, "KFP cannot be reached");
                    self.pause(job).await?;
                }
                Err(problem) => {
                    tokio::fs::remove_file(&posted).await.ok();
                    return Err(problem.failure(doing));
                }
            }
        };
        tracing::warn!(run = job.run, kfp_run = request.run_id, %problem, "it is open whether KFP made the run");
        self.look_up(job, request.run_id, request.name, full, &problem.to_string()).await
    }

    /// Looks for a run that may have been made. Not finding it does not mean that nothing runs.
    async fn look_up(&self, job: &RunJob, id: &str, name: &str, full: bool, why: &str) -> Result<Run, Failure> {
        let begun = Instant::now();
        let mut away = None;
        loop {
            let found = match self.client.run(id, full).await {
                Ok(None) => {
                    let named = self.client.runs_named(name).await;
                    named.map(|runs| runs.into_iter().find(|run| run.run_id == id))
                }
                found => found,
            };
            match found {
                Ok(Some(run)) => return Ok(run),
                Ok(None) => away = None,
                Err(problem) if problem.passes() => away = Some(away.unwrap_or_else(Instant::now)),
                Err(problem) => return Err(problem.failure("looking for the run")),
            }
            // While KFP is away, its silence says nothing.
            let limit = if away.is_some() { self.settings.patience.get() } else { self.settings.look_up.get() };
            if begun.elapsed() >= limit {
                let message = format!(
                    "it is open whether KFP runs {id}: {why}; it does not show the run, but may have started its workflow"
                );
                let namespace = self.settings.namespace.as_deref().unwrap_or("kubeflow");
                let action = format!(
                    "look with `kubectl get workflows -n {namespace} -l pipeline/runid={id}`, delete what is there, then run again"
                );
                return Err(Failure::new(Reason::ClusterUnavailable, message)
                    .on(format!("runs/{}", job.run))
                    .action(action));
            }
            // Not the cancellation: a run that is found late must still be ended.
            tokio::time::sleep(self.settings.poll.get()).await;
        }
    }

    async fn experiment(&self, job: &RunJob) -> Result<String, Failure> {
        let name = if job.experiment.is_empty() { &self.settings.experiment } else { &job.experiment };
        let name = safe_name(name);
        self.persist("finding the experiment", self.cancel, || self.client.experiment(&name).boxed()).await
    }

    /// The ids of pipeline and version. The version's name holds the digest of what is uploaded, so one that is there is this one.
    async fn version(&self, job: &RunJob, text: &str, documents: &[&Value]) -> Result<(String, String), Failure> {
        let name = safe_name(&job.pipeline_name);
        let pipeline = || {
            let found = async {
                match self.client.find_pipeline(&name).await? {
                    Some(id) => Ok(id),
                    None => self.client.upload_pipeline(&name, text).await,
                }
            };
            found.boxed()
        };
        let pipeline = self.upload("uploading the pipeline", pipeline).await?;
        let digest = Digest::of(text.as_bytes());
        let name = safe_name(&format!("{}-{}", job.version, digest.hex().get(..12).unwrap_or_default()));
        let version = || {
            let found = async {
                match self.client.find_version(&pipeline, &name).await? {
                    Some((id, spec)) => Ok((id, Some(spec))),
                    None => Ok((self.client.upload_version(&pipeline, &name, text).await?, None)),
                }
            };
            found.boxed()
        };
        let (version, seen) = self.upload("uploading the pipeline version", version).await?;
        if seen.is_some_and(|seen| !holds(&seen, documents)) {
            let message = format!("KFP has a version `{name}` with another content");
            return Err(
                Failure::new(Reason::AlreadyExists, message).action("delete that version in KFP, then run again")
            );
        }
        Ok((pipeline, version))
    }

    /// Looks and uploads until it is there. Names are unique in KFP: asking twice is asking once.
    async fn upload<'c, T>(
        &self,
        doing: &str,
        mut call: impl FnMut() -> BoxFuture<'c, Result<T, Problem>> + Send,
    ) -> Result<T, Failure> {
        let (begun, mut uploads) = (Instant::now(), 0);
        loop {
            let problem = match self.once(doing, self.cancel, call()).await? {
                Ok(found) => return Ok(found),
                Err(problem) => problem,
            };
            uploads += usize::from(problem.is(409) || problem.is(500));
            let problem = match problem {
                // Somebody was faster: the next look finds it.
                Problem::Refused { status: 409, .. } if uploads <= UPLOADS => Problem::Unsent(problem.to_string()),
                Problem::Refused { status: 500, message } => {
                    let message =
                        format!("{message} (its log says why; its database takes no characters of four bytes)");
                    Problem::Refused { status: if uploads <= UPLOADS { 500 } else { 422 }, message }
                }
                Problem::Refused { status: 400, message } => {
                    let message = format!("{message} (it says no more; this is also its answer to a lack of rights)");
                    Problem::Refused { status: 400, message }
                }
                problem => problem,
            };
            self.wait(doing, self.cancel, begun, problem).await?;
        }
    }

    /// Asks again while a better answer can come, within the patience of the settings.
    pub(super) async fn persist<'c, T>(
        &self,
        doing: &str,
        cancel: &CancellationToken,
        mut call: impl FnMut() -> BoxFuture<'c, Result<T, Problem>> + Send,
    ) -> Result<T, Failure> {
        let begun = Instant::now();
        loop {
            match self.once(doing, cancel, call()).await? {
                Ok(found) => return Ok(found),
                Err(problem) => self.wait(doing, cancel, begun, problem).await?,
            }
        }
    }

    /// The answer, unless it is canceled before.
    async fn once<T>(
        &self,
        doing: &str,
        cancel: &CancellationToken,
        call: BoxFuture<'_, Result<T, Problem>>,
    ) -> Result<Result<T, Problem>, Failure> {
        tokio::select! {
            biased;
            answer = call => Ok(answer),
            () = cancel.cancelled() => Err(Failure::new(Reason::Canceled, format!("canceled while {doing}"))),
        }
    }

    /// Until it may be asked again; fails when that is of no use.
    async fn wait(
        &self,
        doing: &str,
        cancel: &CancellationToken,
        begun: Instant,
        problem: Problem,
    ) -> Result<(), Failure> {
        if !problem.passes() || begun.elapsed() >= self.settings.patience.get() {
            return Err(problem.failure(doing));
        }
        tracing::warn!(%problem, doing, "KFP: tried again");
        tokio::select! {
            () = tokio::time::sleep(self.settings.poll.get()) => Ok(()),
            () = cancel.cancelled() => Err(Failure::new(Reason::Canceled, format!("canceled while {doing}"))),
        }
    }

    async fn pause(&self, job: &RunJob) -> Result<(), Failure> {
        tokio::select! {
            () = tokio::time::sleep(self.settings.poll.get()) => Ok(()),
            () = self.cancel.cancelled() => Err(canceled(&format!("runs/{}", job.run))),
        }
    }

    /// What may run in KFP must be found even when it was canceled: to be ended.
    pub(super) fn unless(&self, id: &str) -> CancellationToken {
        if self.posted(id).exists() { CancellationToken::new() } else { self.cancel.clone() }
    }

    /// Where it is written down that the request was made.
    fn posted(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.posted"))
    }
}

async fn write_down(path: PathBuf) -> Result<(), Failure> {
    let write = move || {
        let file = std::fs::File::create(&path)?;
        file.sync_all()?;
        path.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
    };
    let written = tokio::task::spawn_blocking(write).await.map_err(Failure::internal)?;
    written.map_err(|error: std::io::Error| {
        Failure::new(Reason::StoreUnavailable, format!("the state folder cannot be written: {error}"))
    })
}

/// Whether KFP's answer holds these documents: the first alone, or both under names.
fn holds(seen: &Value, documents: &[&Value]) -> bool {
    match documents {
        [pipeline] => same(seen, pipeline),
        [pipeline, platform, ..] => {
            seen.get("pipeline_spec").is_some_and(|seen| same(seen, pipeline))
                && seen.get("platform_spec").is_some_and(|seen| same(seen, platform))
        }
        [] => false,
    }
}

fn text(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

/// How much of a time limit is left for a run that was created then; a clock that is off may give more, never less than nothing.
pub(super) fn time_left(limit: Duration, created: Option<SystemTime>, now: SystemTime) -> Duration {
    let gone = created.and_then(|created| now.duration_since(created).ok()).unwrap_or_default();
    limit.saturating_sub(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_a_uuid_and_follows_from_the_attempt() {
        let id = run_id(Some("alice"), "r-1", 1);
        assert_eq!(id, run_id(Some("alice"), "r-1", 1));
        let parts: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!((&id[14..15], &id[19..20]), ("8", "a"));
        for other in [
            run_id(Some("alice"), "r-1", 2),
            run_id(Some("bob"), "r-1", 1),
            run_id(None, "r-1", 1),
            run_id(None, "r-11", 1),
        ] {
            assert_ne!(other, id);
        }
    }
}
