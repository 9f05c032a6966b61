//! Names, and what an InferenceService remembers.

use super::*;

#[test]
fn names_are_read_and_hostile_ones_refused() {
    let name = ServiceName::parse("namespaces/team/inferenceServices/iris").unwrap();
    assert_eq!(name.resource(), "namespaces/team/inferenceServices/iris");
    for bad in ["", "iris", "namespaces/../inferenceServices/x", "namespaces/a/inferenceServices/$(touch x)"] {
        assert_eq!(ServiceName::parse(bad).unwrap_err().reason, Reason::InvalidArgument, "{bad}");
    }
    assert!(ServiceName::parse(&format!("namespaces/a/inferenceServices/{}", "x".repeat(58))).is_err());
}

#[test]
fn a_rollout_gets_one_revision_name() {
    let name = ServiceName { namespace: "team".into(), name: "iris".into() };
    let mut service = InferenceService::new(name);
    let make = |name: String| Revision {
        rollout: "a".into(),
        ..Revision {
            name,
            state: RevisionState::Starting,
            percent: None,
            model: Model { uri: String::new(), digest: String::new(), size_bytes: 0 },
            predictor: Predictor { format: String::new(), protocol: Protocol::V1, storage_uri: String::new() },
            run: String::new(),
            rollout: String::new(),
            commit: String::new(),
            created: SystemTime::UNIX_EPOCH,
            manifest: String::new(),
            context: None,
        }
    };
    service.admit("a", make);
    service.admit("a", make);
    service.admit("b", make);
    let names: Vec<&str> = service.revisions.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["iris-00001", "iris-00002"]);
}
#[test]
fn many_failed_revisions_do_not_push_out_the_last_good_one() {
    let name = ServiceName { namespace: "team".into(), name: "iris".into() };
    let mut service = InferenceService::new(name);
    let state_of = |n: u32| match n {
        0 | 1 => RevisionState::Retired,
        2 => RevisionState::Ready,
        _ => RevisionState::Failed,
    };
    for n in 0..200 {
        service.admit(&format!("r-{n}"), |name| Revision {
            name,
            state: state_of(n),
            percent: None,
            model: Model { uri: String::new(), digest: String::new(), size_bytes: 0 },
            predictor: Predictor { format: String::new(), protocol: Protocol::V1, storage_uri: String::new() },
            run: String::new(),
            rollout: format!("r-{n}"),
            commit: String::new(),
            created: SystemTime::UNIX_EPOCH,
            manifest: String::new(),
            context: None,
        });
    }
    let kept: Vec<&str> = service.revisions.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(&kept[..3], ["iris-00001", "iris-00002", "iris-00003"]);
    assert_eq!(kept.last(), Some(&"iris-00200"));
    assert!(kept.len() < 30, "{}", kept.len());
}

#[test]
fn a_fence_shuts_out_older_ones_and_never_those_without() {
    let mut service = InferenceService::new(ServiceName { namespace: "team".into(), name: "iris".into() });
    service.fence = 7;
    assert!(service.shuts_out(6) && !service.shuts_out(7) && !service.shuts_out(8) && !service.shuts_out(0));
}
