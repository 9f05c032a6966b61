//! How a revision stands, judged by what is in the cluster: never by the `Ready` condition, which may be that of the revision before.

use std::time::Duration;

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use serde_json::Value;

use super::{
    objects::{InferenceService, REVISION, adopted},
    pods::{self, Trouble},
};

/// What was read about one revision.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The InferenceService that should serve it.
    pub(super) service: InferenceService,
    /// Of its predictor.
    pub(super) deployment: Option<Deployment>,
    /// Of its predictor, those that are going included.
    pub(super) pods: Vec<Pod>,
}

/// The judgment.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum State {
    /// All its pods serve the revision and are ready.
    Ready,
    /// Some of its pods are ready, and no pod serves another revision.
    Partly(String),
    /// Nothing is ready yet; what is waited for.
    Waits(String),
    /// Something is wrong; it has failed if it stays so for that long.
    Wrong(Trouble),
}

const MOMENT: Duration = Duration::from_secs(3);

/// Judges.
pub(super) fn judge(seen: &Seen, revision: &str, unschedulable_after: Duration) -> State {
    if seen.service.is_going() {
        let text = going(&seen.service);
        return State::Wrong(Trouble { text, after: MOMENT });
    }
    if let Some(text) = invalid_spec(&seen.service) {
        return State::Wrong(Trouble { text, after: MOMENT });
    }
    let Some(deployment) = &seen.deployment else {
        return match reconcile_failure(&seen.service) {
            Some(text) => State::Wrong(Trouble { text, after: MOMENT }),
            None => State::Waits("waits for KServe".into()),
        };
    };
    let template = deployment.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
    if !serves(template.and_then(|metadata| metadata.labels.as_ref()), revision) {
        return match reconcile_failure(&seen.service) {
            Some(text) => State::Wrong(Trouble { text, after: MOMENT }),
            None => State::Waits("waits for KServe".into()),
        };
    }
    let (new, old): (Vec<&Pod>, Vec<&Pod>) =
        seen.pods.iter().partition(|pod| serves(pod.metadata.labels.as_ref(), revision));
    let ready = new.iter().filter(|pod| pods::is_ready(pod)).count();
    if let Some(trouble) = new.iter().find_map(|pod| pods::trouble(pod, unschedulable_after))
        && ready == 0
    {
        return State::Wrong(trouble);
    }
    if let Some(text) = refused(deployment).filter(|_| ready == 0) {
        return State::Wrong(Trouble { text, after: MOMENT });
    }
    let status = deployment.status.clone().unwrap_or_default();
    let observed = status.observed_generation >= deployment.metadata.generation;
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    if !old.is_empty() {
        return State::Waits(format!("waits for the end of {} of the revision before", count(old.len(), "pod")));
    }
    if ready == 0 {
        let doing = new.first().map_or_else(|| "waits for a pod".to_owned(), |pod| pods::doing(pod));
        return State::Waits(doing);
    }
    let all = usize::try_from(wanted).is_ok_and(|wanted| ready >= wanted);
    if observed && all && wanted > 0 {
        State::Ready
    } else {
        State::Partly(format!("{ready} of {wanted} pods are ready"))
    }
}

/// `2 pods`.
fn count(n: usize, word: &str) -> String {
    if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") }
}

/// Whether pods with these labels serve the revision. Those from before Kfops have no label.
fn serves(labels: Option<&std::collections::BTreeMap<String, String>>, revision: &str) -> bool {
    match labels.and_then(|labels| labels.get(REVISION)) {
        Some(label) => label == revision,
        None => revision == adopted(super::objects::service_of(revision)),
    }
}

/// `InferenceService iris is being deleted since …, held by the finalizers …`.
pub(super) fn going(service: &InferenceService) -> String {
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let since = service.metadata.deletion_timestamp.as_ref().map(|time| time.0.to_string()).unwrap_or_default();
    match service.metadata.finalizers.as_deref() {
        Some(finalizers) if !finalizers.is_empty() => {
            format!("InferenceService {name} is being deleted since {since}; it waits for {}", finalizers.join(", "))
        }
        _ => format!("InferenceService {name} is being deleted since {since}"),
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// What KServe says about a spec that it cannot serve.
fn invalid_spec(service: &InferenceService) -> Option<String> {
    let model = service.status.get("modelStatus")?;
    if text(model, "/transitionStatus") != "InvalidSpec" {
        return None;
    }
    let (reason, message) = (text(model, "/lastFailureInfo/reason"), text(model, "/lastFailureInfo/message"));
    Some(format!("KServe cannot serve it: {reason}: {message}").trim_end_matches([':', ' ']).to_owned())
}

/// What kept KServe from making a Deployment, e.g. another admission webhook.
fn reconcile_failure(service: &InferenceService) -> Option<String> {
    let conditions = service.status.get("conditions")?.as_array()?;
    let ready = conditions.iter().find(|c| text(c, "/type") == "PredictorReady")?;
    let failed = text(ready, "/status") == "False" && text(ready, "/reason") == "ReconcileFailed";
    failed.then(|| format!("KServe cannot make its Deployment: {}", text(ready, "/message")))
}

/// Quotas, Pod Security, webhooks that refuse pods; a Deployment that gave up.
fn refused(deployment: &Deployment) -> Option<String> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let find = |kind: &str, status: &str| conditions.iter().find(|c| c.type_ == kind && c.status == status);
    if let Some(condition) = find("ReplicaFailure", "True") {
        return Some(format!("its pods are refused: {}", condition.message.clone().unwrap_or_default()));
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(label: &str, pods: &[(&str, bool)], replicas: i32) -> Seen {
        let labels = |label: &str| if label.is_empty() { json!({}) } else { json!({ REVISION: label }) };
        let deployment = json!({
            "metadata": {"generation": 2},
            "spec": {"replicas": replicas, "selector": {}, "template": {"metadata": {"labels": labels(label)}}},
            "status": {"observedGeneration": 2},
        });
        let pod = |(label, ready): &(&str, bool)| {
            let status = if *ready { "True" } else { "False" };
            serde_json::from_value(json!({
                "metadata": {"labels": labels(label)},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": status}]}}))
            .unwrap()
        };
        Seen {
            service: InferenceService::default(),
            deployment: Some(serde_json::from_value(deployment).unwrap()),
            pods: pods.iter().map(pod).collect(),
        }
    }

    fn judged(seen: &Seen) -> State {
        judge(seen, "iris-00002", Duration::from_secs(30))
    }

    #[test]
    fn only_pods_of_the_revision_make_it_ready() {
        let new = "iris-00002";
        assert_eq!(judged(&seen(new, &[(new, true)], 1)), State::Ready);
        let both = judged(&seen(new, &[(new, true), ("iris-00001", true)], 1));
        assert_eq!(both, State::Waits("waits for the end of 1 pod of the revision before".into()));
        assert_eq!(judged(&seen(new, &[(new, true), (new, false)], 2)), State::Partly("1 of 2 pods are ready".into()));
        let before = judged(&seen("iris-00001", &[("iris-00001", true)], 1));
        assert_eq!(before, State::Waits("waits for KServe".into()), "ready, but with the model before");
        assert!(matches!(judged(&seen(new, &[], 1)), State::Waits(_)));
    }

    #[test]
    fn what_was_there_before_has_no_label() {
        let old = seen("", &[("", true)], 1);
        assert_eq!(judge(&old, "iris-00000", MOMENT), State::Ready);
        assert!(matches!(judged(&old), State::Waits(_)));
    }

    #[test]
    fn what_kserve_says_is_passed_on() {
        let mut none = Seen::default();
        none.service.status = json!({"modelStatus": {"transitionStatus": "InvalidSpec", "lastFailureInfo":
            {"reason": "NoSupportingRuntime", "message": "No runtime found to support specified framework/version"}}});
        let State::Wrong(trouble) = judged(&none) else { panic!("not wrong") };
        let expected =
            "KServe cannot serve it: NoSupportingRuntime: No runtime found to support specified framework/version";
        assert_eq!(trouble.text, expected);
        none.service.status = json!({"conditions": [{"type": "PredictorReady", "status": "False",
            "reason": "ReconcileFailed", "message": "admission webhook \"policy\" denied the request: no"}]});
        let State::Wrong(trouble) = judged(&none) else { panic!("not wrong") };
        assert!(trouble.text.ends_with("denied the request: no"), "{}", trouble.text);
    }

    #[test]
    fn a_quota_is_named() {
        let mut some = seen("iris-00002", &[], 1);
        let status = json!({"conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
            "message": "pods \"x\" is forbidden: exceeded quota: q"}]});
        some.deployment.as_mut().unwrap().status = serde_json::from_value(status).unwrap();
        let State::Wrong(trouble) = judged(&some) else { panic!("not wrong") };
        assert!(trouble.text.contains("exceeded quota: q"), "{}", trouble.text);
    }
}
