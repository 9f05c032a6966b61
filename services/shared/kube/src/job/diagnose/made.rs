//! Jobs whose pod was not made, was taken away, or was given up by the Job controller.

use std::time::SystemTime;

use k8s_openapi::api::{
    batch::v1::{Job, JobCondition},
    core::v1::{Event, Pod},
};
use kfops_core::{Failure, Reason};

use super::{Fault, Hope, Obstacle, Verdict, diagnose, ended::disrupted, last_seen, shortened, time};

/// Seconds after which the Job controller should have made a pod or said why not.
const CONTROLLER: u64 = 15;

/// What a Job does: its own conditions, then its pod, then the events about it. `pod` is its newest.
pub(in crate::job) fn diagnose_job(
    job: &Job,
    pod: Option<&Pod>,
    container: &str,
    events: &[Event],
    now: SystemTime,
) -> Verdict {
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let failure = |reason, message: String| Failure::new(reason, message).on(format!("jobs/{name}"));
    let verdict = pod.map(|pod| diagnose(pod, container, events, now));
    let condition = |kinds: &[&str]| condition(job, kinds);
    if let Some(given_up) = condition(&["Failed", "FailureTarget"]) {
        let said = shortened(given_up.message.as_deref().unwrap_or_default());
        if given_up.reason.as_deref() == Some("DeadlineExceeded") {
            return Verdict::Failed(Fault::Final(deadline(job, verdict, failure)));
        }
        return match verdict {
            Some(ended @ Verdict::Failed(_)) => ended,
            // The pod's own last words are on their way.
            Some(verdict) if given_up.type_ == "FailureTarget" && !matches!(verdict, Verdict::Succeeded(_)) => {
                Verdict::Starting
            }
            _ => Verdict::Failed(Fault::Infrastructure(pod.and_then(disrupted).unwrap_or_else(|| {
                let message = format!("the pod was removed by somebody before it ended: {said}");
                failure(Reason::ClusterUnavailable, message)
            }))),
        };
    }
    match verdict {
        // The Job's deadline looks like this too, and is known by the Job's condition only.
        Some(Verdict::Failed(Fault::Infrastructure(_))) if pod.is_some_and(ended) => Verdict::Starting,
        Some(verdict) => verdict,
        None if condition(&["Complete"]).is_some() => {
            let message = "the Job is complete and its pod is gone, and with it the result".to_owned();
            Verdict::Failed(Fault::Infrastructure(failure(Reason::ClusterUnavailable, message)))
        }
        None => not_made(job, events, now, failure).map_or(Verdict::Starting, Verdict::Waiting),
    }
}

fn ended(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Failed")
}

fn condition<'a>(job: &'a Job, kinds: &[&str]) -> Option<&'a JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.status == "True" && kinds.contains(&condition.type_.as_str()))
}

fn deadline(job: &Job, verdict: Option<Verdict>, failure: impl Fn(Reason, String) -> Failure) -> Failure {
    let limit = job.spec.as_ref().and_then(|spec| spec.active_deadline_seconds).unwrap_or_default();
    if let Some(Verdict::Waiting(obstacle)) = verdict {
        let message = format!("nothing ran within the time limit of {limit} s: {}", obstacle.failure.message);
        return Failure { message, ..obstacle.failure };
    }
    failure(Reason::DeadlineExceeded, format!("the time limit of {limit} s is reached"))
        .action("make the work shorter, or raise the time limit")
}

fn not_made(
    job: &Job,
    events: &[Event],
    now: SystemTime,
    failure: impl Fn(Reason, String) -> Failure,
) -> Option<Obstacle> {
    let uid = job.metadata.uid.as_deref();
    let refused = events
        .iter()
        .filter(|event| event.reason.as_deref() == Some("FailedCreate"))
        .filter(|event| event.involved_object.uid.as_deref() == uid)
        .max_by_key(|event| last_seen(event));
    let Some(refused) = refused else {
        let age = time(job.metadata.creation_timestamp.as_ref()).and_then(|made| now.duration_since(made).ok())?;
        let message = format!("the Job has had no pod for {} s", age.as_secs());
        return (age.as_secs() > CONTROLLER).then(|| Obstacle {
            failure: failure(Reason::ClusterUnavailable, message).action("look whether the Job controller runs"),
            hope: Hope::Capacity,
        });
    };
    let said = refused.message.as_deref().unwrap_or_default();
    // `Error creating: pods "x-" is forbidden: …`: what follows is what counts.
    let said = said.strip_prefix("Error creating: ").unwrap_or(said);
    let says = |sign: &str| said.contains(sign);
    let words = shortened(said);
    let (reason, message, hope, action) = if says("exceeded quota") {
        (
            Reason::ResourceExhausted,
            format!("the namespace's quota is used up: {words}"),
            Hope::Capacity,
            "wait for others to end, or raise the quota",
        )
    } else if says("violates PodSecurity") {
        (
            Reason::ClusterRefused,
            format!("the namespace's Pod Security level refuses the pod: {words}"),
            Hope::None,
            "label the namespace with the level that the pod needs, or use another namespace",
        )
    } else if says("failed calling webhook") {
        (
            Reason::ClusterUnavailable,
            format!("an admission webhook does not answer: {words}"),
            Hope::Node,
            "look whether the webhook's service runs",
        )
    } else if says("admission webhook") || says("ValidatingAdmissionPolicy") {
        (
            Reason::ClusterRefused,
            format!("admission refuses the pod: {words}"),
            Hope::None,
            "change what it names, or ask who runs the cluster",
        )
    } else if says("serviceaccount") || says("service account") {
        (
            Reason::ClusterRefused,
            format!("the pod's service account is missing: {words}"),
            Hope::Objects,
            "make it, or name another one",
        )
    } else if says("is forbidden") || says("is invalid") {
        (
            Reason::ClusterRefused,
            format!("Kubernetes refuses the pod: {words}"),
            Hope::None,
            "change what it names, or ask who runs the cluster",
        )
    } else {
        (Reason::ClusterUnavailable, format!("the pod cannot be made: {words}"), Hope::Node, "it is tried again")
    };
    Some(Obstacle { failure: failure(reason, message).action(action), hope })
}
