//! Knative mode: one InferenceService, whose revisions Knative makes; what Kfops wants as `canaryTrafficPercent`, and what
//! KServe's status says, as the same states as in Standard mode.
//!
//! KServe 0.20 gives a new revision its share only once a revision before it has had everything (`latestRolledoutRevision`);
//! before that, a first deployment gets 100 % whatever the share is. The revision before gets the rest under the tag `prev`.

use serde_json::Value;

use super::{pods::Trouble, state::State};

/// What KServe says of the predictor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Status {
    /// Knative's newest revision.
    pub(super) created: String,
    /// Knative's newest revision that is ready.
    pub(super) ready: String,
    /// The newest that had all traffic.
    pub(super) rolled_out: String,
    /// The one before that.
    pub(super) rolled_out_before: String,
    /// Revision -> percent.
    pub(super) traffic: Vec<(String, u8)>,
}

impl Status {
    /// Reads it from the status of an InferenceService.
    pub(super) fn of(status: &Value) -> Self {
        let predictor = status.pointer("/components/predictor").cloned().unwrap_or_default();
        let text = |key: &str| predictor.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut traffic: Vec<(String, u8)> = Vec::new();
        for target in predictor.get("traffic").and_then(Value::as_array).into_iter().flatten() {
            let revision = target.get("revisionName").and_then(Value::as_str).unwrap_or_default();
            let percent = target.get("percent").and_then(Value::as_u64).and_then(|p| u8::try_from(p).ok()).unwrap_or(0);
            match traffic.iter_mut().find(|(name, _)| name == revision) {
                Some((_, sum)) => *sum = sum.saturating_add(percent),
                None => traffic.push((revision.to_owned(), percent)),
            }
        }
        Self {
            created: text("latestCreatedRevision"),
            ready: text("latestReadyRevision"),
            rolled_out: text("latestRolledoutRevision"),
            rolled_out_before: text("previousRolledoutRevision"),
            traffic,
        }
    }

    /// The share of a Knative revision.
    pub(super) fn share(&self, revision: &str) -> u8 {
        self.traffic.iter().find(|(name, _)| name == revision).map_or(0, |(_, percent)| *percent)
    }

    /// How the revision that followed `before` stands. `before` is what was newest when the new spec was applied; the status
    /// may still be that of the spec before, and `Ready` may be that of the revision before.
    pub(super) fn judge(&self, before: &str, model: &Value) -> State {
        if self.created.is_empty() || self.created == before {
            return match failure(model).filter(|_| text(model, "transitionStatus") == "InvalidSpec") {
                Some(text) => State::Wrong(Trouble { text, after: std::time::Duration::from_secs(3) }),
                None => State::Waits("waits for KServe".into()),
            };
        }
        if self.ready == self.created {
            return match text(model, "transitionStatus") {
                "BlockedByFailedLoad" | "InvalidSpec" => match failure(model) {
                    Some(text) => State::Wrong(Trouble { text, after: std::time::Duration::from_secs(3) }),
                    None => State::Ready,
                },
                _ => State::Ready,
            };
        }
        match failure(model).filter(|_| text(model, "transitionStatus") != "UpToDate") {
            Some(text) => State::Wrong(Trouble { text, after: std::time::Duration::from_secs(5) }),
            None => State::Waits(format!("waits for Knative's revision {}", self.created)),
        }
    }

    /// The `canaryTrafficPercent` to apply so that the new revision has `percent`. None: the field must not be there, for
    /// then the newest revision has everything and becomes the one rolled out.
    pub(super) fn canary(&self, percent: u8) -> Option<u8> {
        // Without a revision that had everything KServe passes the share over; writing it would look like a canary.
        if percent >= 100 || self.rolled_out.is_empty() { None } else { Some(percent) }
    }

    /// Whether a share is in force: the field alone says nothing, Knative's own traffic does.
    pub(super) fn in_force(&self, percent: u8) -> bool {
        let all = self.share(&self.created) >= 100;
        if percent >= 100 { all && self.rolled_out == self.created } else { self.share(&self.created) == percent }
    }

    /// To which of Knative's revisions a restoration leads, with `canaryTrafficPercent: 0`. After a promotion that is the one
    /// that was rolled out before.
    pub(super) fn restores_to(&self) -> Option<&str> {
        let before = if self.rolled_out == self.created { &self.rolled_out_before } else { &self.rolled_out };
        (!before.is_empty()).then_some(before)
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn failure(model: &Value) -> Option<String> {
    let info = model.get("lastFailureInfo")?;
    let (reason, message) = (text(info, "reason"), text(info, "message"));
    Some(format!("KServe says {reason}: {message}").trim_end_matches([':', ' ']).to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As KServe 0.20 writes it (PropagateStatus), shortened.
    fn status(created: &str, ready: &str, rolled: &str, before: &str, traffic: &[(&str, u8)]) -> Status {
        let traffic: Vec<Value> = traffic
            .iter()
            .map(|(revision, percent)| {
                json!({"revisionName": revision, "percent": percent, "latestRevision": *revision == ready,
                    "tag": if *revision == ready { "latest" } else { "prev" }})
            })
            .collect();
        Status::of(&json!({"observedGeneration": 1, "components": {"predictor": {
            "latestCreatedRevision": created, "latestReadyRevision": ready, "latestRolledoutRevision": rolled,
            "previousRolledoutRevision": before, "traffic": traffic}}}))
    }

    const P1: &str = "iris-predictor-00001";
    const P2: &str = "iris-predictor-00002";

    #[test]
    fn a_first_deployment_has_no_canary() {
        let first = status(P1, "", "", "", &[]);
        assert_eq!(first.canary(10), None, "KServe would pass it over");
        assert_eq!(first.judge("", &json!({})), State::Waits(format!("waits for Knative's revision {P1}")));
        let done = status(P1, P1, P1, "", &[(P1, 100)]);
        assert_eq!(done.judge("", &json!({"transitionStatus": "UpToDate"})), State::Ready);
        assert!(done.in_force(100) && done.restores_to().is_none());
    }

    #[test]
    fn ready_of_the_revision_before_is_not_ready() {
        let stale = status(P1, P1, P1, "", &[(P1, 100)]);
        assert_eq!(stale.judge(P1, &json!({"transitionStatus": "UpToDate"})), State::Waits("waits for KServe".into()));
        let coming = status(P2, P1, P1, "", &[(P1, 100)]);
        assert!(matches!(coming.judge(P1, &json!({"transitionStatus": "InProgress"})), State::Waits(_)));
        assert_eq!(coming.restores_to(), Some(P1));
    }

    #[test]
    fn a_share_is_in_force_when_knative_says_so() {
        let canary = status(P2, P2, P1, "", &[(P2, 10), (P1, 90)]);
        assert_eq!(canary.canary(10), Some(10));
        assert!(canary.in_force(10) && !canary.in_force(50) && !canary.in_force(100));
        assert_eq!(canary.judge(P1, &json!({"transitionStatus": "UpToDate"})), State::Ready);
        let promoted = status(P2, P2, P2, P1, &[(P2, 100)]);
        assert_eq!(canary.canary(100), None);
        assert!(promoted.in_force(100));
        assert_eq!(promoted.restores_to(), Some(P1));
        let all_but_not_rolled_out = status(P2, P2, P1, "", &[(P2, 100)]);
        assert!(!all_but_not_rolled_out.in_force(100), "a share of 100 by canary is no promotion");
    }

    #[test]
    fn a_revision_named_twice_has_the_sum() {
        assert_eq!(status(P1, P1, P1, "", &[(P1, 30), (P1, 70)]).share(P1), 100);
    }

    #[test]
    fn failures_are_kserves_words() {
        let model = json!({"transitionStatus": "BlockedByFailedLoad", "lastFailureInfo":
            {"reason": "ModelLoadFailed", "message": "no such bucket"}});
        let State::Wrong(trouble) = status(P2, P1, P1, "", &[(P1, 100)]).judge(P1, &model) else { panic!("not wrong") };
        assert_eq!(trouble.text, "KServe says ModelLoadFailed: no such bucket");
        let invalid = json!({"transitionStatus": "InvalidSpec", "lastFailureInfo":
            {"reason": "NoSupportingRuntime", "message": "No runtime found"}});
        assert!(matches!(status(P1, P1, P1, "", &[]).judge(P1, &invalid), State::Wrong(_)));
    }
}
