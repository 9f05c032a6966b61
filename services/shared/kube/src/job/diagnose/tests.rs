//! Held against what a real cluster (Kubernetes 1.35, containerd) said about Jobs that cannot run: `observed.json`, one case a line.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::batch::v1::Job;
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Case {
    job: Job,
    pod: Option<Pod>,
    events: Vec<Event>,
}

fn observed() -> BTreeMap<String, Case> {
    serde_json::from_str(include_str!("observed.json")).unwrap()
}

fn verdict(case: &Case, after: Duration) -> Verdict {
    let made = time(case.job.metadata.creation_timestamp.as_ref()).unwrap();
    diagnose_job(&case.job, case.pod.as_ref(), "main", &case.events, made + after)
}

fn at(cases: &BTreeMap<String, Case>, name: &str) -> Verdict {
    verdict(&cases[name], Duration::from_secs(10))
}

#[test]
fn what_keeps_a_pod_from_running_is_named() {
    let cases = observed();
    for (name, hope, reason, words) in [
        ("no-image", Hope::None, Reason::ClusterRefused, "image registry.test/none:1 cannot be pulled: not found"),
        ("init-image", Hope::None, Reason::ClusterRefused, "image registry.test/none:2 cannot be pulled: not found"),
        ("bad-image", Hope::None, Reason::ClusterRefused, "repository name (UPPER) must be lowercase"),
        ("never-image", Hope::None, Reason::ClusterRefused, "is not present with pull policy of Never"),
        (
            "no-secret-env",
            Hope::Objects,
            Reason::ClusterRefused,
            r#"main cannot be configured: secret "login" not found"#,
        ),
        ("no-key-env", Hope::Objects, Reason::ClusterRefused, "couldn't find key x in Secret jobs-fix/empty"),
        ("non-root", Hope::Objects, Reason::ClusterRefused, "container has runAsNonRoot and image will run as root"),
        ("no-secret-volume", Hope::Objects, Reason::ClusterRefused, r#"volume "v" : secret "login" not found"#),
        ("no-claim", Hope::Objects, Reason::ClusterRefused, r#"persistentvolumeclaim "none" not found"#),
        (
            "no-cpu",
            Hope::Capacity,
            Reason::ResourceExhausted,
            "no node takes the pod: 0/1 nodes are available: 1 Insufficient cpu",
        ),
        ("no-node", Hope::Capacity, Reason::ClusterRefused, "didn't match Pod's node affinity/selector"),
        ("sandbox", Hope::Node, Reason::ClusterUnavailable, r#"no runtime for "none" is configured"#),
        ("no-account", Hope::Objects, Reason::ClusterRefused, r#"serviceaccount "none" not found"#),
        ("quota", Hope::Capacity, Reason::ResourceExhausted, "quota is used up: "),
        ("pss", Hope::None, Reason::ClusterRefused, r#"violates PodSecurity "restricted:latest""#),
        ("vap", Hope::None, Reason::ClusterRefused, "images come from the team's registry only"),
        ("hook", Hope::Node, Reason::ClusterUnavailable, r#"service "none" not found"#),
        ("limit", Hope::None, Reason::ClusterRefused, "maximum memory usage per Container is 64Mi, but limit is 1Gi"),
    ] {
        let Verdict::Waiting(obstacle) = at(&cases, name) else { panic!("{name}: {:?}", at(&cases, name)) };
        assert_eq!((obstacle.hope, obstacle.failure.reason), (hope, reason), "{name}: {obstacle:?}");
        assert!(obstacle.failure.message.contains(words), "{name}: {}", obstacle.failure.message);
        assert!(!obstacle.failure.action.is_empty() && !obstacle.failure.resource.is_empty(), "{name}: {obstacle:?}");
    }
}

#[test]
fn what_ended_a_pod_is_named() {
    let cases = observed();
    for (name, reason, words) in [
        (
            "oom",
            Reason::ResourceExhausted,
            "container main was ended because it used more than its memory limit of 32Mi",
        ),
        ("start", Reason::ClusterRefused, r#"container main cannot begin: failed to create containerd task"#),
        ("pod-deadline", Reason::DeadlineExceeded, "the pod reached its time limit"),
        ("deadline", Reason::DeadlineExceeded, "the time limit of 5 s is reached"),
    ] {
        let Verdict::Failed(Fault::Final(failure)) = at(&cases, name) else { panic!("{name}: {:?}", at(&cases, name)) };
        assert_eq!(failure.reason, reason, "{name}: {failure:?}");
        assert!(failure.message.contains(words), "{name}: {}", failure.message);
        assert!(!failure.action.is_empty(), "{name}");
    }
    for (name, words) in [
        (
            "out-of-cpu",
            "node node1 gave the pod back (OutOfcpu): Pod was rejected: Node didn't have enough resource: cpu",
        ),
        ("node-gone", "was removed with its node (DeletionByPodGC)"),
        ("evicted", "the pod was removed by somebody"),
        ("removed", "the pod was removed by somebody"),
    ] {
        let Verdict::Failed(Fault::Infrastructure(failure)) = at(&cases, name) else {
            panic!("{name}: {:?}", at(&cases, name))
        };
        assert!(failure.retryable && failure.message.contains(words), "{name}: {failure:?}");
    }
}

#[test]
fn exit_codes_and_messages_are_the_programs_own() {
    let cases = observed();
    for (name, container, code, message) in [("exit", "main", 3, "because\n"), ("init", "fetch", 4, "")] {
        let Verdict::Failed(Fault::Exit(end)) = at(&cases, name) else { panic!("{name}: {:?}", at(&cases, name)) };
        assert_eq!((end.container.as_str(), end.code, end.message.as_str()), (container, code, message));
    }
    let Verdict::Succeeded(end) = at(&cases, "ok") else { panic!("{:?}", at(&cases, "ok")) };
    assert_eq!(end.message, "sha256:abc");
    assert!(end.ran.is_some_and(|(from, to)| from < to));
    assert_eq!(at(&cases, "running"), Verdict::Running);
}

#[test]
fn an_eviction_is_told_from_a_failure_of_the_program() {
    let mut cases = observed();
    // Seen while it still ran: the Job waits for its last words, and then the condition says who it was.
    let case = cases.get_mut("evict").unwrap();
    assert_eq!(verdict(case, Duration::from_secs(25)), Verdict::Starting);
    for condition in case.job.status.iter_mut().flat_map(|status| status.conditions.iter_mut().flatten()) {
        condition.type_ = "Failed".into();
    }
    let Verdict::Failed(Fault::Infrastructure(failure)) = verdict(case, Duration::from_secs(25)) else { panic!() };
    assert!(failure.message.contains("EvictionByEvictionAPI"), "{failure:?}");
}

#[test]
fn silence_is_named_too() {
    let mut cases = observed();
    let case = cases.get_mut("no-account").unwrap();
    case.events.clear();
    assert_eq!(verdict(case, Duration::from_secs(5)), Verdict::Starting);
    let Verdict::Waiting(obstacle) = verdict(case, Duration::from_secs(20)) else { panic!() };
    assert!(obstacle.failure.message.contains("no pod for 20 s"), "{obstacle:?}");

    // Asked to end long ago, and its node says nothing.
    let case = cases.get_mut("evict").unwrap();
    case.job.status = None;
    assert_eq!(verdict(case, Duration::from_secs(30)), Verdict::Running);
    let Verdict::Failed(Fault::Infrastructure(failure)) = verdict(case, Duration::from_secs(90)) else { panic!() };
    assert!(failure.message.contains("node1 does not say"), "{failure:?}");
}

#[test]
fn other_registries_words_are_understood() {
    let mut cases = observed();
    let case = cases.get_mut("no-image").unwrap();
    for (said, hope, reason, words) in [
        (
            r#"Back-off pulling image "r/x": ErrImagePull: failed to pull and unpack image "r/x": failed to resolve reference "r/x": failed to do request: Head "https://r/v2/x/manifests/1": dial tcp: lookup r: no such host"#,
            Hope::Registry,
            Reason::RegistryUnavailable,
            r#"cannot be pulled: Head "https://r/v2/x/manifests/1": dial tcp: lookup r: no such host"#,
        ),
        (
            r#"failed to resolve reference "r/x": unexpected status from HEAD request to https://r/v2/x/manifests/1: 403 Forbidden"#,
            Hope::None,
            Reason::PermissionDenied,
            "403 Forbidden",
        ),
        (
            r#"failed to authorize: failed to fetch anonymous token: unexpected status from GET request to https://r/token: 401 Unauthorized: authentication required"#,
            Hope::None,
            Reason::PermissionDenied,
            "authentication required",
        ),
    ] {
        let pod = case.pod.as_mut().unwrap();
        let state = pod.status.as_mut().unwrap().container_statuses.as_mut().unwrap()[0].state.as_mut().unwrap();
        state.waiting.as_mut().unwrap().message = Some(said.into());
        let Verdict::Waiting(obstacle) = verdict(case, Duration::from_secs(10)) else { panic!() };
        assert_eq!((obstacle.hope, obstacle.failure.reason), (hope, reason), "{obstacle:?}");
        assert!(obstacle.failure.message.contains(words), "{}", obstacle.failure.message);
    }
}

#[test]
fn nothing_of_another_pod_is_believed() {
    let mut cases = observed();
    let case = cases.get_mut("no-secret-volume").unwrap();
    for event in &mut case.events {
        event.involved_object.uid = Some("another".into());
    }
    assert_eq!(verdict(case, Duration::from_secs(10)), Verdict::Starting);
}
