//! Ends a Job and waits until nothing of it runs.

use std::time::Duration;

use k8s_openapi::api::{batch::v1::Job, core::v1::Pod};
use kfops_core::{Failure, Reason};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams},
};
use tokio::time::Instant;

use super::task::JOB_NAME;
use crate::{failure, optional};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);
/// Longest for one question.
const REQUEST: Duration = Duration::from_secs(30);

/// Ends the Job `name`, if there is one, and returns when it and its pods are gone; fails when they are not within `patience`.
/// An API server that does not answer is asked again until then.
pub async fn remove(client: &Client, namespace: &str, name: &str, patience: Duration) -> Result<(), Failure> {
    let deadline = Instant::now() + patience;
    let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let resource = format!("jobs/{name}");
    loop {
        let gone = match limited(&resource, ended(&jobs, &pods, name, &resource)).await {
            Ok(None) => return Ok(()),
            Ok(Some(left)) => {
                Failure::new(Reason::ClusterUnavailable, left).on(&resource).action("look whether its node answers")
            }
            Err(failure) if failure.retryable => failure,
            Err(failure) => return Err(failure),
        };
        if Instant::now() >= deadline {
            return Err(gone);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What is left, after one more request to end it.
async fn ended(jobs: &Api<Job>, pods: &Api<Pod>, name: &str, resource: &str) -> Result<Option<String>, Failure> {
    let there = optional(jobs.delete(name, &DeleteParams::background()).await, resource)?;
    let left = pods
        .list(&ListParams::default().labels(&format!("{JOB_NAME}={name}")))
        .await
        .map_err(|error| failure(&error, &format!("pods of {resource}")))?;
    if let Some(pod) = left.items.first() {
        let pod_name = pod.metadata.name.as_deref().unwrap_or("?");
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or("?");
        return Ok(Some(format!("{resource} was ended and pods/{pod_name} on node {node} is still there")));
    }
    // A Job that this request marked is looked for once more.
    Ok(there.map(|_| format!("{resource} was ended and is still there")))
}

/// A request that takes no longer than it may.
pub(super) async fn limited<T>(
    resource: &str,
    request: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::time::timeout(REQUEST, request).await.unwrap_or_else(|_| {
        let message = format!("{resource}: the Kubernetes API did not answer within {} s", REQUEST.as_secs());
        Err(Failure::new(Reason::ClusterUnavailable, message).on(resource))
    })
}
