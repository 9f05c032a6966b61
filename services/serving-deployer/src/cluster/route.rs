//! The VirtualService of a service: the weights, a rule per revision for requests that ask for it by header, and a mark that tells
//! which version of all this a proxy has.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    objects::{MANAGED_BY, SERVICE, route},
    settings::KserveSettings,
};
use crate::service::ServiceName;

/// Names the revision: in requests that want a certain one, and in answers.
pub(super) const HEADER: &str = "kfops-revision";
/// Below the path of the service: answers with the version of the route.
pub(super) const MARK: &str = "/.kfops/route";
/// Of a predictor's Service.
const PORT: u16 = 80;

/// A revision in the route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leg {
    pub(super) revision: String,
    /// Of its predictor's Service.
    pub(super) host: String,
    pub(super) weight: u32,
}

/// The object to apply, and its version.
pub(super) fn virtual_service(
    settings: &KserveSettings,
    service: &ServiceName,
    legs: &[Leg],
    timeout: Duration,
    owner: Option<&str>,
) -> (Value, String) {
    let path = settings.path_of(service);
    let prefix = json!({"prefix": format!("{path}/")});
    let destination = |leg: &Leg| {
        json!({
            "destination": {"host": leg.host, "port": {"number": PORT}},
            "headers": {"response": {"set": {HEADER: leg.revision}}},
        })
    };
    let rule = |matching: Value, to: Vec<Value>| {
        json!({
            "match": [matching],
            "rewrite": {"uri": "/"},
            "route": to,
            "timeout": format!("{:.3}s", timeout.as_secs_f64()),
            // Only what was never answered by a model, so that none sees a request twice.
            "retries": {"attempts": 3, "retryOn": "connect-failure,refused-stream,reset-before-request"},
        })
    };
    let answer = |matching: Value, status: u16, text: &str| json!({"match": [matching], "directResponse": {"status": status, "body": {"string": format!("{text}\n")}}});
    let mut rules: Vec<Value> = legs
        .iter()
        .map(|leg| rule(json!({"uri": prefix, "headers": {HEADER: {"exact": leg.revision}}}), vec![destination(leg)]))
        .collect();
    rules.push(answer(json!({"uri": prefix, "headers": {HEADER: {"regex": ".+"}}}), 404, "no such revision"));
    let mut shares: Vec<Value> = Vec::new();
    let some: Vec<&Leg> = legs.iter().filter(|leg| leg.weight > 0).collect();
    for leg in &some {
        let mut to = destination(leg);
        if some.len() > 1 {
            to["weight"] = leg.weight.into();
        }
        shares.push(to);
    }
    rules.push(match shares.is_empty() {
        true => answer(json!({"uri": prefix}), 503, "no revision is live"),
        false => rule(json!({"uri": prefix}), shares),
    });
    let mut spec = json!({"hosts": [settings.host_of(service)], "gateways": [settings.gateway], "http": rules});
    let version = kfops_core::short_hash(&[&spec.to_string()], 16);
    if let Some(rules) = spec["http"].as_array_mut() {
        rules.insert(0, answer(json!({"uri": {"exact": format!("{path}{MARK}")}}), 200, &version));
    }
    let mut metadata = json!({
        "name": route(&service.name),
        "namespace": service.namespace,
        "labels": {MANAGED_BY.0: MANAGED_BY.1, SERVICE: service.name},
    });
    if let Some(uid) = owner {
        metadata["ownerReferences"] = json!([{"apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService", "name": service.name, "uid": uid}]);
    }
    let object =
        json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata, "spec": spec});
    (object, version)
}

/// The legs of a route as it is in the cluster; those of our own making only.
pub(super) fn legs(spec: &Value) -> Vec<Leg> {
    let mut legs: Vec<Leg> = Vec::new();
    let rules = spec.get("http").and_then(Value::as_array).into_iter().flatten();
    for rule in rules {
        let pinned = rule.pointer("/match/0/headers").is_some();
        for to in rule.get("route").and_then(Value::as_array).into_iter().flatten() {
            let host = to.pointer("/destination/host").and_then(Value::as_str);
            let revision = to.pointer("/headers/response/set").and_then(|set| set.get(HEADER)).and_then(Value::as_str);
            let (Some(host), Some(revision)) = (host, revision) else { continue };
            let weight = match (pinned, to.get("weight").and_then(Value::as_u64)) {
                (true, _) => 0,
                (false, weight) => weight.map_or(100, |weight| u32::try_from(weight).unwrap_or(100)),
            };
            match legs.iter_mut().find(|leg| leg.revision == revision) {
                Some(leg) => leg.weight = leg.weight.max(weight),
                None => legs.push(Leg { revision: revision.into(), host: host.into(), weight }),
            }
        }
    }
    legs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg(revision: &str, service: &str, weight: u32) -> Leg {
        let host = crate::cluster::objects::predictor_host("team", service);
        Leg { revision: revision.into(), host, weight }
    }

    fn spec(legs: &[Leg]) -> (Value, String) {
        let iris = ServiceName { namespace: "team".into(), name: "iris".into() };
        let settings = KserveSettings::default();
        let (object, version) = virtual_service(&settings, &iris, legs, Duration::from_secs(60), Some("u-1"));
        assert_eq!(object["metadata"]["ownerReferences"][0]["uid"], "u-1");
        (object["spec"].clone(), version)
    }

    #[test]
    fn requests_are_split_and_answers_say_by_whom() {
        let both = [leg("iris-00001", "iris", 90), leg("iris-00002", "iris-00002", 10)];
        let (spec, version) = spec(&both);
        let rules = spec["http"].as_array().unwrap();
        assert_eq!(rules[0]["directResponse"]["body"]["string"], format!("{version}\n"));
        assert_eq!(rules[0]["match"][0]["uri"]["exact"], "/serving/team/iris/.kfops/route");
        assert_eq!(rules[2]["match"][0]["headers"][HEADER]["exact"], "iris-00002");
        assert_eq!(rules[3]["directResponse"]["status"], 404);
        let shares = rules[4]["route"].as_array().unwrap();
        assert_eq!((&shares[0]["weight"], &shares[1]["weight"]), (&json!(90), &json!(10)));
        assert_eq!(shares[1]["destination"]["host"], "iris-00002-predictor.team.svc.cluster.local");
        assert_eq!(shares[1]["headers"]["response"]["set"][HEADER], "iris-00002");
        assert_eq!(legs(&spec), both, "what is written can be read");
    }

    #[test]
    fn each_route_has_a_version_of_its_own() {
        let (one, first) = spec(&[leg("iris-00001", "iris", 100)]);
        let (_, second) = spec(&[leg("iris-00001", "iris", 100), leg("iris-00002", "iris-00002", 0)]);
        assert_ne!(first, second);
        assert_eq!(legs(&one), [leg("iris-00001", "iris", 100)]);
        let (none, _) = spec(&[leg("iris-00001", "iris", 0)]);
        assert_eq!(none["http"][3]["directResponse"]["status"], 503);
    }
}
