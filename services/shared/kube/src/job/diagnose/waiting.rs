//! Pods that do not run yet, and why.

use k8s_openapi::api::core::v1::ContainerStateWaiting;
use kfops_core::Reason;

use super::{Hope, Obstacle, Subject, Verdict, shortened};

/// Seconds after which a scheduler should have said something.
const SCHEDULER: u64 = 15;

/// What keeps the pod from running, if anything does.
pub(super) fn obstacle(subject: &Subject<'_>) -> Option<Verdict> {
    let found = unscheduled(subject).or_else(|| {
        let waiting = subject.containers().find_map(|status| {
            let waiting = status.state.as_ref()?.waiting.as_ref()?;
            Some((status.name.as_str(), status.image.as_str(), waiting))
        });
        match waiting {
            Some((container, image, state)) => container_waits(subject, container, image, state),
            // The kubelet has not looked at it yet, or everything has begun.
            None if subject.status.phase.as_deref() == Some("Pending") => node_waits(subject),
            None => None,
        }
    });
    found.map(Verdict::Waiting)
}

fn unscheduled(subject: &Subject<'_>) -> Option<Obstacle> {
    let scheduled = subject.status.conditions.iter().flatten().find(|condition| condition.type_ == "PodScheduled");
    match scheduled {
        Some(condition) if condition.status == "False" => {
            let said = shortened(condition.message.as_deref().unwrap_or_default());
            if said.contains("persistentvolumeclaim") && said.contains("not found") {
                let failure = subject.failure(Reason::ClusterRefused, format!("the pod cannot be placed: {said}"));
                return Some(Obstacle { failure: failure.action("make the claim that it names"), hope: Hope::Objects });
            }
            let room = said.contains("Insufficient") || said.contains("Too many pods");
            let reason = if room { Reason::ResourceExhausted } else { Reason::ClusterRefused };
            let action = if room {
                "wait for others to end, add nodes, or ask for less in the requests"
            } else {
                "correct node selector, affinity and tolerations, or make nodes that fit"
            };
            let failure = subject.failure(reason, format!("no node takes the pod: {said}")).action(action);
            Some(Obstacle { failure, hope: Hope::Capacity })
        }
        None if subject.pod.spec.as_ref().is_none_or(|spec| spec.node_name.is_none()) && subject.age() > SCHEDULER => {
            let message = format!("no scheduler has looked at the pod for {} s", subject.age());
            let failure =
                subject.failure(Reason::ClusterUnavailable, message).action("look whether the scheduler runs");
            Some(Obstacle { failure, hope: Hope::Capacity })
        }
        _ => None,
    }
}

fn container_waits(
    subject: &Subject<'_>,
    container: &str,
    image: &str,
    state: &ContainerStateWaiting,
) -> Option<Obstacle> {
    let said = state.message.as_deref().unwrap_or_default();
    match state.reason.as_deref().unwrap_or_default() {
        "" | "ContainerCreating" | "PodInitializing" => node_waits(subject),
        "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" | "ImageInspectError" => {
            Some(image_not_pulled(subject, image, said))
        }
        reason @ ("InvalidImageName" | "ErrImageNeverPull" | "SignatureValidationFailed") => {
            let message = format!("image {image} cannot be used ({reason}): {}", shortened(said));
            let failure = subject.failure(Reason::ClusterRefused, message).action("correct the image's name");
            Some(Obstacle { failure, hope: Hope::None })
        }
        "CreateContainerConfigError" => Some(not_configured(subject, container, said)),
        reason => {
            let message = format!("container {container} cannot begin ({reason}): {}", shortened(said));
            let failure = subject.failure(Reason::ClusterRefused, message);
            Some(Obstacle { failure: failure.action("correct what it names"), hope: Hope::Objects })
        }
    }
}

fn image_not_pulled(subject: &Subject<'_>, image: &str, said: &str) -> Obstacle {
    // Older kubelets say no more than that they wait; then the event has it.
    let told = if said.contains(": ") { said } else { subject.event(&["Failed"]).unwrap_or(said) };
    let cause = registry_words(told);
    let says = |signs: &[&str]| signs.iter().any(|sign| told.contains(sign));
    let (reason, hope, action) =
        if says(&["unauthorized", "authorization failed", "denied", "authentication required", "403 Forbidden"]) {
            (
                Reason::PermissionDenied,
                Hope::None,
                "give the nodes or the service account credentials for this registry (imagePullSecrets)",
            )
        } else if says(&["not found", "manifest unknown", "name unknown", "does not exist"])
            && !says(&["dial tcp", "no such host"])
        {
            (Reason::ClusterRefused, Hope::None, "correct the image's name, or push it")
        } else if says(&["no match for platform"]) {
            (Reason::ClusterRefused, Hope::None, "push the image for the platform of the nodes")
        } else {
            (Reason::RegistryUnavailable, Hope::Registry, "look whether the nodes reach the registry")
        };
    let failure = subject.failure(reason, format!("image {image} cannot be pulled: {cause}")).action(action);
    Obstacle { failure, hope }
}

/// The end of what containerd or CRI-O say: before it, each layer of theirs repeats the image.
fn registry_words(said: &str) -> String {
    let said = said.trim_end();
    let from =
        ["failed to do request: ", "unexpected status from ", "failed to authorize: ", "failed to resolve image: "]
            .iter()
            .filter_map(|sign| said.rfind(sign).map(|at| at + sign.len()))
            .max();
    let words = match from.and_then(|from| said.get(from..)) {
        Some(words) => words,
        // `…: not found`: the two last parts, unless the part before names the image again.
        None => said.rsplit_once(": ").map_or(said, |(_, last)| last),
    };
    shortened(if words.is_empty() { said } else { words })
}

fn not_configured(subject: &Subject<'_>, container: &str, said: &str) -> Obstacle {
    let action = if said.contains("not found") || said.contains("couldn't find key") {
        "make what it names, in the namespace of the pod"
    } else if said.contains("runAsNonRoot") || said.contains("non-root") || said.contains("non-numeric user") {
        "use an image with a numeric user that is not root, or set runAsUser"
    } else {
        "correct what it names"
    };
    let message = format!("container {container} cannot be configured: {}", shortened(said));
    Obstacle { failure: subject.failure(Reason::ClusterRefused, message).action(action), hope: Hope::Objects }
}

/// Before containers begin, only events say what the node cannot do.
fn node_waits(subject: &Subject<'_>) -> Option<Obstacle> {
    let newest = subject.events.iter().find(|event| {
        matches!(
            event.reason.as_deref(),
            Some(
                "FailedMount"
                    | "FailedAttachVolume"
                    | "FailedCreatePodSandBox"
                    | "NetworkNotReady"
                    | "FailedCreatePodContainer"
            )
        )
    })?;
    let said = newest.message.as_deref().unwrap_or_default();
    let node = subject.node();
    match newest.reason.as_deref() {
        Some("FailedMount" | "FailedAttachVolume") => {
            let missing = said.contains("not found") || said.contains("references non-existent");
            let (reason, hope, action) = if missing {
                (Reason::ClusterRefused, Hope::Objects, "make what it names, in the namespace of the pod")
            } else {
                (Reason::ClusterUnavailable, Hope::Node, "look at the storage of the node")
            };
            let failure = subject.failure(reason, format!("a volume cannot be mounted: {}", shortened(said)));
            Some(Obstacle { failure: failure.action(action), hope })
        }
        _ => {
            let message = format!("node {node} cannot make the pod's sandbox: {}", shortened(said));
            let failure = subject.failure(Reason::ClusterUnavailable, message);
            Some(Obstacle {
                failure: failure.action("look at the network and the container runtime of the node"),
                hope: Hope::Node,
            })
        }
    }
}
