//! Compiles in a pod of its own: no network, no token, nothing writable but scratch space, limits on all it may use.

mod feed;
mod output;
mod pod;
pub(crate) mod settings;

use std::{path::PathBuf, time::Duration};

use async_trait::async_trait;
use kfops_core::{Failure, Reason, short_hash};
use kfops_kube::job::{self, Exited, Finished, Outcome, Patience, Task};
use kfops_process::LogTail;
use kfops_store::Store;
use kube::Client;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use self::{
    feed::{Attendant, Enough},
    output::{Output, clean},
    pod::{EMIT, Limits, RECEIVE},
    settings::{Network, SandboxSettings},
};
use crate::{
    Settings,
    explain::{self, Problem},
    ir::Ir,
    life::canceled,
    ports::{CompileJob, Compiler},
    ship::{EVERY, Shipper},
};

/// Exit codes of `receive`.
const OPEN: i32 = 11;
const BROKEN: i32 = 12;
const DAMAGED: i32 = 13;
/// Most that a compilation may print, its result included.
const MAX_LOG: u64 = 64 << 20;
/// Of the log, for failures.
const TAIL: u64 = 64 << 10;
/// Longest wait for a Job to go.
const GONE: Duration = Duration::from_secs(60);
/// Times that the source is handed over anew, or the log is read anew.
const AGAIN: usize = 3;

/// Compiles each version in a Job.
pub(super) struct SandboxCompiler {
    client: Client,
    namespace: String,
    settings: SandboxSettings,
    store: Store,
    folder: PathBuf,
    timeout: Duration,
    /// MiB.
    memory: u64,
}

/// How one Job ended, when not with a result.
enum Stop {
    For(Failure),
    /// It did nothing yet, or its result was lost on the way: another Job may do.
    Again(Failure),
}

impl SandboxCompiler {
    /// `folder` is for what is on its way.
    pub(super) fn new(
        client: Client,
        settings: &Settings,
        sandbox: &SandboxSettings,
        store: Store,
        folder: PathBuf,
    ) -> Result<Self, Failure> {
        sandbox.validate()?;
        Ok(Self {
            namespace: sandbox.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned()),
            client,
            settings: sandbox.clone(),
            store,
            folder,
            timeout: settings.compile_timeout.get(),
            memory: settings.compile_memory_mib,
        })
    }

    fn task(&self, job: &CompileJob) -> Result<Task, Failure> {
        let limits = Limits { memory: self.memory, cpu: self.timeout.as_secs().max(1) };
        let mut labels = self.settings.labels.clone();
        labels.insert("app.kubernetes.io/component".into(), "compile".into());
        // A sidecar has a network of its own mind.
        labels.insert("sidecar.istio.io/inject".into(), "false".into());
        let name = format!("compile-{}", short_hash(&["compile", &job.version], 20));
        Ok(Task {
            labels,
            annotations: [("kfops.dev/pipeline-version".to_owned(), job.version.clone())].into(),
            deadline: self.settings.start_timeout.get() + self.timeout,
            keep: self.settings.keep.get(),
            attempts: self.settings.attempts,
            patience: Patience { capacity: self.settings.start_timeout.get(), ..Patience::default() },
            max_log: MAX_LOG,
            ..Task::new(name, pod::pod(job, &self.settings, &limits)?, EMIT)
        })
    }

    /// One Job to its end.
    async fn once(&self, job: &CompileJob, cancel: &CancellationToken) -> Result<Ir, Stop> {
        let scratch = tempfile::tempdir_in(&self.folder)
            .map_err(|error| Failure::new(Reason::StoreUnavailable, format!("no room for a log: {error}")))?;
        let task = self.task(job)?;
        let output = Output::to(scratch.path().join("log"))?;
        let attendant = Attendant {
            client: &self.client,
            namespace: &self.namespace,
            name: &task.name,
            store: &self.store,
            job,
            scratch: scratch.path(),
            max_source: self.settings.max_source_mib,
            timeout: self.timeout,
        };
        let ending = cancel.child_token();
        let mut shipper = Shipper::new(self.store.clone());
        let tidy = |text: String| clean(&text);
        let mut enough = None;
        let outcome = {
            let work = job::run(&self.client, &self.namespace, &task, &output, &ending);
            let attend = attendant.attend();
            tokio::pin!(work, attend);
            let mut often = tokio::time::interval(EVERY);
            loop {
                tokio::select! {
                    outcome = &mut work => break outcome,
                    why = &mut attend, if enough.is_none() => {
                        enough = Some(why);
                        ending.cancel();
                    }
                    _ = often.tick() => shipper.ship(&job.log_key, output.path(), tidy).await,
                }
            }
        };
        shipper.ship(&job.log_key, output.path(), tidy).await;
        let log = clean(&LogTail::read(output.path(), TAIL));
        match (outcome, enough) {
            (Ok(Outcome::Succeeded(Finished { message, .. })), _) => output.result(&message)?.map_err(Stop::Again),
            (Ok(Outcome::Exited(exited)), _) => Err(self.exited(job, &exited, &log)),
            (Err(_), _) if cancel.is_cancelled() => Err(canceled(&format!("pipelineVersions/{}", job.version)).into()),
            (Err(_), Some(Enough::TimedOut)) => Err(explain::timed_out(job, self.timeout, &log).into()),
            (Err(_), Some(Enough::Failed(failure))) => Err(failure.into()),
            (Err(failure), None) => Err(self.infrastructure(job, failure, &log).into()),
        }
    }

    fn exited(&self, job: &CompileJob, exited: &Exited, log: &str) -> Stop {
        let described = match exited.code {
            code @ 129..=192 => format!("ended by signal {}", code - 128),
            code => format!("exit code {code}"),
        };
        match (exited.container.as_str(), exited.code) {
            (RECEIVE, OPEN) => {
                let message = format!(
                    "pods of the namespace {} reach the Kubernetes API, so nothing of the pull request was run there",
                    self.namespace
                );
                let failure = Failure::new(Reason::ClusterRefused, message).on("sandbox.namespace");
                failure.action("deny their egress by a NetworkPolicy that the cluster's network enforces; where that cannot be, set sandbox.network to unproven").into()
            }
            (RECEIVE, BROKEN) => Stop::Again(Failure::new(
                Reason::ClusterUnavailable,
                "the source was cut off on its way into the sandbox",
            )),
            (RECEIVE, DAMAGED) => Stop::Again(Failure::new(
                Reason::SourceUnavailable,
                "the source was damaged on its way into the sandbox",
            )),
            (RECEIVE | EMIT, _) => {
                let message = format!("the sandbox's container {} failed: {described}", exited.container);
                let failure = Failure::internal(message).action("is sandbox.image an image with Python and kfp?");
                failure.log_tail(&exited.log_tail).into()
            }
            _ => {
                let problem = serde_json::from_str::<Problem>(&exited.message).ok();
                let problem = problem.map(|problem| Problem { message: clean(&problem.message), ..problem });
                explain::not_compiled(job, problem, self.memory, &described, log).into()
            }
        }
    }

    /// In the words of a compilation, where they differ.
    fn infrastructure(&self, job: &CompileJob, failure: Failure, log: &str) -> Failure {
        let of_memory = failure.reason == Reason::ResourceExhausted && failure.message.contains("memory limit");
        match failure.reason {
            Reason::DeadlineExceeded => {
                let limit = self.settings.start_timeout.get() + self.timeout;
                let message = format!("the sandbox did not begin and end within {} s", limit.as_secs());
                Failure { retryable: true, ..Failure::new(Reason::CompileTimeout, message) }
                    .action("look whether the nodes have room and the image can be pulled")
                    .log_tail(log)
            }
            _ if of_memory => {
                let problem = Problem { kind: "memory".into(), message: String::new() };
                explain::not_compiled(job, Some(problem), self.memory, "", log)
            }
            _ => Failure { message: format!("{} (namespace {})", failure.message, self.namespace), ..failure },
        }
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::For(failure)
    }
}

#[async_trait]
impl Compiler for SandboxCompiler {
    fn isolation(&self) -> String {
        let network = match self.settings.network {
            Network::Closed => "without network",
            Network::Unproven => "whose network was not looked at",
        };
        format!("a pod {network} in the namespace {}", self.namespace)
    }

    async fn compile(&self, job: &CompileJob, cancel: &CancellationToken) -> Result<String, Failure> {
        let mut times = 1;
        loop {
            let failure = match self.once(job, cancel).await {
                Ok(ir) => return ir.to_yaml(),
                Err(Stop::For(failure)) => return Err(failure),
                Err(Stop::Again(failure)) => failure,
            };
            if times >= AGAIN {
                return Err(failure);
            }
            times += 1;
            tracing::warn!(pipeline_version = job.version, %failure, times, "compiled again");
            job::remove(&self.client, &self.namespace, &self.task(job)?.name, GONE).await?;
        }
    }

    /// The pod has checked what it printed.
    async fn check(&self, _pipeline: &Value, _cancel: &CancellationToken) -> Result<(), Failure> {
        Ok(())
    }
}
