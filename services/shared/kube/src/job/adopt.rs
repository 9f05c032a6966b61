//! Makes a Job, or takes over the one that is there.

use std::time::Duration;

use k8s_openapi::api::{batch::v1::Job, core::v1::Secret};
use kfops_core::{Failure, Reason};
use kube::{Api, Client, api::PostParams};
use tokio::time::Instant;

use super::{
    remove::{limited, remove},
    task::{ATTEMPT, KFOPS, MANAGED_BY, SPEC_HASH, Task},
};
use crate::{FIELD_MANAGER, apply, failure, optional};

/// Longest wait for an older Job of the same name to go.
const GONE: Duration = Duration::from_secs(60);
/// Between two attempts to make one.
const PAUSE: Duration = Duration::from_millis(500);

/// A Job that is there now, and which attempt it is.
pub(super) struct Adopted {
    pub(super) job: Job,
    pub(super) attempt: u32,
}

/// The Job of `task`: made, or found. One that was made from something else, or is being deleted, is replaced.
/// While a quota leaves no room, or the API server does not answer, it is tried again for as long as the task is patient; `waits`
/// is told.
pub(super) async fn adopt(
    client: &Client,
    namespace: &str,
    task: &Task,
    attempt: u32,
    waits: &mut (dyn FnMut(&Failure) + Send),
) -> Result<Adopted, Failure> {
    let wanted = task.job(attempt)?;
    let deadline = Instant::now() + task.patience.capacity;
    let api: Api<Job> = Api::namespaced(client.clone(), namespace);
    loop {
        let problem = match once(client, &api, namespace, task, attempt, &wanted).await {
            Ok(adopted) => match secret(client, namespace, task, &adopted.job).await {
                Ok(()) => return Ok(adopted),
                Err(failure) if failure.retryable => failure,
                Err(failure) => return Err(failure),
            },
            Err(failure) if failure.message.contains("exceeded quota") => Failure {
                reason: Reason::ResourceExhausted,
                retryable: true,
                action: "wait for others to end, or raise the quota".into(),
                ..failure
            },
            Err(failure) if failure.retryable => failure,
            Err(failure) => return Err(failure),
        };
        if Instant::now() >= deadline {
            return Err(problem);
        }
        waits(&problem);
        tokio::time::sleep(PAUSE).await;
    }
}

/// After the Job, which owns it: whatever happens, it goes with the Job.
async fn secret(client: &Client, namespace: &str, task: &Task, job: &Job) -> Result<(), Failure> {
    if task.secret.is_empty() {
        return Ok(());
    }
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    limited(&format!("secrets/{}", task.name), apply(&api, &task.name, &task.secret(job), true)).await.map(|_| ())
}

async fn once(
    client: &Client,
    api: &Api<Job>,
    namespace: &str,
    task: &Task,
    attempt: u32,
    wanted: &Job,
) -> Result<Adopted, Failure> {
    let resource = format!("jobs/{}", task.name);
    let parameters = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    let create = async { api.create(&parameters, wanted).await.map_err(|error| failure(&error, &resource)) };
    match limited(&resource, create).await {
        Ok(job) => return Ok(Adopted { job, attempt }),
        Err(failure) if failure.reason == Reason::AlreadyExists => {}
        Err(failure) => return Err(failure),
    }
    let found = limited(&resource, async { optional(api.get(&task.name).await, &resource) }).await?;
    // Gone in between: the next attempt makes it.
    let Some(found) = found else {
        return Err(Failure::new(Reason::ClusterUnavailable, format!("{resource} is about to go")).on(resource));
    };
    let metadata = &found.metadata;
    let note = |key: &str| metadata.annotations.as_ref().and_then(|notes| notes.get(key)).map(String::as_str);
    if metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY)).map(String::as_str) != Some(KFOPS) {
        let message = format!("{resource} in namespace {namespace} was made by somebody else");
        return Err(Failure::new(Reason::AlreadyExists, message).on(resource).action("remove it, or rename it"));
    }
    if metadata.deletion_timestamp.is_none() && note(SPEC_HASH) == Some(task.hash()?.as_str()) {
        let attempt = note(ATTEMPT).and_then(|text| text.parse().ok()).map_or(attempt, |of: u32| of.max(attempt));
        tracing::info!(job = task.name, namespace, attempt, "adopted");
        return Ok(Adopted { job: found, attempt });
    }
    tracing::info!(job = task.name, namespace, "an older one is replaced");
    remove(client, namespace, &task.name, GONE).await?;
    Err(Failure::new(Reason::ClusterUnavailable, format!("{resource} was replaced")).on(resource))
}
