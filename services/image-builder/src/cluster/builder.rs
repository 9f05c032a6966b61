//! Builds images with Jobs.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use kfops_core::{Digest, Failure, Reason, short_hash};
use kfops_kube::job::{self, Exited, Observer, Outcome, Task};
use kfops_process::Ended;
use kfops_store::Store;
use kube::Client;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::{
    pack::pack,
    pod::{self, BUILDKIT, FETCH, Given, URL_KEY},
    settings::BuildKitSettings,
};
use crate::{
    explain,
    ports::{Builder, Job, Pushed, Registry},
    registry_client::RegistryClient,
    settings::Settings,
};

/// Beyond the time limit of a build: it may wait for a node first, and begin again.
const URL_VALID: Duration = Duration::from_secs(3600);
/// Longest wait for a Job that succeeded to go.
const GONE: Duration = Duration::from_secs(30);
/// A log that grows beyond this ends its build.
const MAX_LOG: u64 = 200 << 20;

/// Builds each image in a Job of its own.
pub(super) struct ClusterBuilder {
    client: Client,
    namespace: String,
    settings: BuildKitSettings,
    otlp_endpoint: Option<String>,
    store: Store,
    registry: RegistryClient,
}

impl ClusterBuilder {
    pub(super) fn new(client: Client, settings: &Settings, store: Store) -> Result<Self, Failure> {
        Ok(Self {
            namespace: client.default_namespace().to_owned(),
            client,
            settings: settings.buildkit.clone(),
            otlp_endpoint: settings.buildkit.otlp_endpoint.clone().or_else(|| settings.telemetry.otlp_endpoint.clone()),
            store,
            registry: RegistryClient::new(settings.registry.auth_file.clone(), None, None)?,
        })
    }

    async fn built(&self, job: &Job, cancel: &CancellationToken) -> Result<Pushed, Failure> {
        let name = name(job);
        let key = format!("contexts/{name}.tar.gz");
        let pushed = tokio::select! {
            biased;
            () = job.leaving.cancelled() => return Err(canceled()),
            pushed = self.run(job, &name, &key, cancel) => pushed,
        };
        // Nobody fetches it any more. What a process that died left, a rule of the bucket removes.
        if let Err(failure) = self.store.delete(&key).await {
            tracing::warn!(key, %failure, "the build context stays in the object store");
        }
        pushed
    }

    async fn run(&self, job: &Job, name: &str, key: &str, cancel: &CancellationToken) -> Result<Pushed, Failure> {
        let task = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(canceled()),
            task = self.task(job, name, key) => task?,
        };
        let log = Log::open(&job.log)?;
        let outcome = job::run(&self.client, &self.namespace, &task, &log, cancel).await;
        let digest = match outcome.map_err(|failure| self.infrastructure(job, failure))? {
            Outcome::Succeeded(finished) => digest(&finished.message)?,
            Outcome::Exited(exited) => return Err(exited_failure(&exited, job)),
        };
        let built = SystemTime::now();
        // What came out of the pod is believed only when the registry has it.
        self.registry.tag(&job.repository, &digest, &job.tag).await.map_err(|failure| Failure {
            reason: Reason::ImagePushFailed,
            message: format!("the image was built and cannot be tagged: {}", failure.message),
            ..failure
        })?;
        if let Err(failure) = job::remove(&self.client, &self.namespace, name, GONE).await {
            tracing::warn!(job = name, %failure, "left to its time to live");
        }
        Ok(Pushed { digest, built })
    }

    async fn task(&self, job: &Job, name: &str, key: &str) -> Result<Task, Failure> {
        let archive = job.scratch.join("context.tar.gz");
        let (folder, into) = (job.context.clone(), archive.clone());
        let digest = tokio::task::spawn_blocking(move || pack(&folder, &into)).await.map_err(Failure::internal)??;
        self.store.put_file(key, &archive).await?;
        tokio::fs::remove_file(&archive).await.ok();
        let url = self.store.signed_get(key, job.timeout + URL_VALID).await?;
        let given =
            Given { settings: &self.settings, name, digest: &digest, otlp_endpoint: self.otlp_endpoint.as_deref() };
        let mut labels = self.settings.labels.clone();
        labels.insert("app.kubernetes.io/component".into(), "build".into());
        let mut annotations = self.settings.annotations.clone();
        annotations.insert("kfops.dev/image".into(), job.name.clone());
        Ok(Task {
            labels,
            annotations,
            secret: [(URL_KEY.to_owned(), SecretString::from(url.expose()))].into(),
            deadline: job.timeout,
            keep: self.settings.keep.get(),
            attempts: self.settings.attempts,
            patience: self.settings.patience.get(),
            max_log: MAX_LOG,
            ..Task::new(name, pod::pod(job, &given)?, BUILDKIT)
        })
    }

    /// In the words of a build, where they differ.
    fn infrastructure(&self, job: &Job, failure: Failure) -> Failure {
        match failure.reason {
            Reason::Canceled => canceled(),
            Reason::DeadlineExceeded => {
                let ended = Ended { timed_out: true, output: failure.log_tail, ..Ended::default() };
                explain::build(&ended, job)
            }
            _ => Failure { message: format!("{} (namespace {})", failure.message, self.namespace), ..failure },
        }
    }
}

#[async_trait]
impl Builder for ClusterBuilder {
    async fn build(&self, job: &Job, cancel: &CancellationToken) -> Result<Pushed, Failure> {
        self.built(job, cancel).await
    }
}

/// Derived: a service that was restarted asks for the same Job, and another content or place is another Job.
fn name(job: &Job) -> String {
    let image = job.name.rsplit('/').next().unwrap_or_default();
    let plain: String =
        image.chars().map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' }).take(30).collect();
    let hash = short_hash(&[&job.name, &job.repository.location, &job.tag], 20);
    format!("build-{}-{hash}", plain.trim_matches('-'))
}

/// The termination message is written by a pod that ran foreign code.
fn digest(message: &str) -> Result<Digest, Failure> {
    Digest::parse(message.trim()).map_err(|error| {
        Failure::new(Reason::ImageBuildFailed, format!("BuildKit ended well and gave no digest: {error}"))
            .action("look whether buildkit.image is rootless BuildKit with a shell")
    })
}

fn exited_failure(exited: &Exited, job: &Job) -> Failure {
    let output = &exited.log_tail;
    if exited.container == FETCH {
        let said = output.lines().next_back().unwrap_or("it does not say why");
        return Failure::new(Reason::SourceUnavailable, format!("the pod could not fetch the build context: {said}"))
            .action("look whether pods of the build namespace reach the object store")
            .log_tail(output);
    }
    let ended = Ended { code: Some(exited.code), output: output.clone(), ..Ended::default() };
    if ["failed to push", "error: failed to solve: failed to copy"].iter().any(|sign| output.contains(sign)) {
        return explain::push(&ended, job);
    }
    explain::build(&ended, job)
}

fn canceled() -> Failure {
    Failure::new(Reason::Canceled, "canceled")
}

/// The build's log, in the file that is put into the object store.
struct Log(Mutex<File>);

impl Log {
    fn open(path: &Path) -> Result<Self, Failure> {
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(|error| {
            Failure::new(Reason::StoreUnavailable, format!("cannot write {}: {error}", path.display()))
        })?;
        Ok(Self(Mutex::new(file)))
    }

    fn write(&self, bytes: &[u8]) {
        if let Err(error) = self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes) {
            tracing::warn!(%error, "log not written");
        }
    }
}

impl Observer for Log {
    fn log(&self, line: &[u8]) {
        self.write(line);
    }

    fn waits(&self, failure: &Failure) {
        self.write(format!("kfops: waits: {}\n", failure.message).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_all_that_a_pod_may_say() {
        let digest_text = format!("sha256:{}\n", "a".repeat(64));
        assert_eq!(digest(&digest_text).unwrap().hex(), "a".repeat(64));
        assert!(digest("").is_err());
        assert!(digest(&format!("{digest_text}{digest_text}")).is_err());
    }
}
