//! Pods that have ended, or that were taken away.

use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::Pod;
use kfops_core::{Failure, Reason};

use super::{Fault, Hope, Obstacle, Subject, Verdict, shortened, time};

/// How long a pod may take to end after the time that it was given.
const OVERDUE: Duration = Duration::from_secs(30);

/// Reasons of a pod's status that say that the node or the scheduler did it.
const TAKEN_AWAY: &[&str] = &[
    "NodeLost",
    "NodeShutdown",
    "Shutdown",
    "Terminated",
    "Preempting",
    "Preempted",
    "NodeAffinity",
    "UnexpectedAdmissionError",
    "OutOfcpu",
    "OutOfmemory",
    "OutOfpods",
    "OutOfephemeral-storage",
    "TaintToleration",
];

/// Why a pod of the phase Failed has failed.
pub(super) fn failed(subject: &Subject<'_>) -> Fault {
    let said = shortened(subject.status.message.as_deref().unwrap_or_default());
    match subject.status.reason.as_deref() {
        Some("Evicted") => return evicted(subject, &said),
        Some("DeadlineExceeded") => return Fault::Final(deadline(subject)),
        Some(reason) if TAKEN_AWAY.contains(&reason) => {
            let message = format!("node {} gave the pod back ({reason}): {said}", subject.node());
            return Fault::Infrastructure(subject.failure(Reason::ClusterUnavailable, message));
        }
        _ => {}
    }
    let broken = subject.containers().find_map(|status| {
        let ended = status.state.as_ref()?.terminated.as_ref()?;
        (ended.exit_code != 0).then_some((status.name.as_str(), ended))
    });
    if let Some(failure) = disrupted(subject.pod) {
        return Fault::Infrastructure(failure);
    }
    let finished = broken.and_then(|(_, ended)| time(ended.finished_at.as_ref()));
    if asked_to_end(subject.pod).is_some_and(|asked| finished >= Some(asked)) {
        let message = "the pod was removed by somebody before it ended".to_owned();
        return Fault::Infrastructure(subject.failure(Reason::ClusterUnavailable, message));
    }
    let Some((container, ended)) = broken else {
        let message = format!("the pod failed and does not say why {said}");
        return Fault::Infrastructure(subject.failure(Reason::ClusterUnavailable, message.trim_end().to_owned()));
    };
    let why = shortened(ended.message.as_deref().unwrap_or_default());
    match ended.reason.as_deref() {
        Some("OOMKilled") => {
            let limit = memory_limit(subject, container).map_or_else(String::new, |limit| format!(" of {limit}"));
            let message = format!("container {container} was ended because it used more than its memory limit{limit}");
            let failure = subject.failure(Reason::ResourceExhausted, message);
            Fault::Final(Failure {
                retryable: false,
                ..failure.action("raise the memory limit, or make the work smaller")
            })
        }
        Some("ContainerStatusUnknown") => {
            let message = format!("node {} lost sight of container {container}: {why}", subject.node());
            Fault::Infrastructure(subject.failure(Reason::ClusterUnavailable, message))
        }
        Some("StartError" | "ContainerCannotRun") => {
            let failure = subject.failure(Reason::ClusterRefused, format!("container {container} cannot begin: {why}"));
            Fault::Final(failure.action("correct the image or the command"))
        }
        _ => Fault::Exit(subject.end(container)),
    }
}

/// A pod that still counts as running but that will not: it is overdue to end, or its node does not answer.
pub(super) fn lost(subject: &Subject<'_>) -> Option<Verdict> {
    let node = subject.node();
    if let Some(deleted) = time(subject.pod.metadata.deletion_timestamp.as_ref()) {
        // The time is when it should have ended: its grace period is in it.
        if subject.now.duration_since(deleted).is_ok_and(|late| late > OVERDUE) {
            let message = format!("the pod was to end and node {node} does not say that it has");
            return Some(Verdict::Failed(Fault::Infrastructure(subject.failure(Reason::ClusterUnavailable, message))));
        }
        return None;
    }
    let ready = subject.status.conditions.iter().flatten().find(|condition| condition.type_ == "Ready");
    let unknown =
        ready.is_some_and(|ready| ready.status == "Unknown" || ready.reason.as_deref() == Some("NodeStatusUnknown"));
    let newest = subject.events.first().and_then(|event| event.reason.as_deref());
    if unknown || (newest == Some("NodeNotReady") && subject.status.phase.as_deref() == Some("Running")) {
        let failure = subject.failure(Reason::ClusterUnavailable, format!("node {node} does not answer"));
        let failure = failure.action("look at the node; the work begins again elsewhere when it stays away");
        return Some(Verdict::Waiting(Obstacle { failure, hope: Hope::Node }));
    }
    None
}

fn evicted(subject: &Subject<'_>, said: &str) -> Fault {
    let node = subject.node();
    // A pod that outgrew what it was given would do so on every node.
    if said.contains("exceed") && !said.starts_with("The node was low on resource") {
        let failure =
            subject.failure(Reason::ResourceExhausted, format!("the pod was evicted from node {node}: {said}"));
        return Fault::Final(Failure { retryable: false, ..failure.action("raise the limit that it names") });
    }
    let failure = subject.failure(Reason::ClusterUnavailable, format!("the pod was evicted from node {node}: {said}"));
    Fault::Infrastructure(failure.action("free disk and memory on the nodes, or ask for more in the requests"))
}

/// When somebody asked for the pod's end; its time stamp is the end of its grace period.
fn asked_to_end(pod: &Pod) -> Option<SystemTime> {
    let grace = u64::try_from(pod.metadata.deletion_grace_period_seconds.unwrap_or_default()).unwrap_or_default();
    time(pod.metadata.deletion_timestamp.as_ref())?.checked_sub(Duration::from_secs(grace))
}

/// The cluster's own reason to end a pod (condition DisruptionTarget).
pub(super) fn disrupted(pod: &Pod) -> Option<Failure> {
    let status = pod.status.as_ref()?;
    let condition = status.conditions.iter().flatten().find(|c| c.type_ == "DisruptionTarget" && c.status == "True")?;
    let reason = condition.reason.as_deref().unwrap_or_default();
    let what = match reason {
        "PreemptionByScheduler" => "made room for a pod of a higher priority",
        "DeletionByTaintManager" => "left a node that does not answer or is tainted",
        "EvictionByEvictionAPI" => "was evicted, e.g. because its node is drained",
        "DeletionByPodGC" => "was removed with its node",
        "TerminationByKubelet" => "was ended by its node, which ran short or shuts down",
        _ => "was disrupted",
    };
    let said = shortened(condition.message.as_deref().unwrap_or_default());
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let failure = Failure::new(Reason::ClusterUnavailable, format!("the pod {what} ({reason}): {said}"));
    Some(failure.on(format!("pods/{name}")))
}

/// The pod reached its own time limit.
fn deadline(subject: &Subject<'_>) -> Failure {
    let failure = subject.failure(Reason::DeadlineExceeded, "the pod reached its time limit".into());
    failure.action("make the work shorter, or raise the time limit")
}

fn memory_limit(subject: &Subject<'_>, container: &str) -> Option<String> {
    let spec = subject.pod.spec.as_ref()?;
    let found = spec.init_containers.iter().flatten().chain(&spec.containers).find(|c| c.name == container)?;
    Some(found.resources.as_ref()?.limits.as_ref()?.get("memory")?.0.clone())
}
