use std::time::Duration;

use kfops_core::TraceContext;

use super::*;
use crate::step::Stage;

fn command() -> Command {
    let on = (Repository::parse("Owner/r").unwrap(), 7);
    let origin = Origin::Comment { delivery: "g-1".into(), comment: 9, index: 2 };
    let trace = TraceContext::from_random([1; 24]);
    let received = UNIX_EPOCH + Duration::from_nanos(1_763_743_123_456_789_012);
    let mut command = Command::new("c-1".into(), Verb::BuildRun, on, "somebody".into(), origin, trace, received);
    command.seq = 5;
    command.version = 1;
    command.arguments = vec!["a b".into(), "\"\n: {".into()];
    command.written = Some(received - Duration::from_millis(1));
    command.links = vec![TraceContext::from_random([2; 24])];
    command.quiet = true;
    command.superseded_by = Some("3f".repeat(20));
    let failure = Failure::new(Reason::InvalidArgument, "a quote is never closed").action("write it as /build");
    command.unreadable = Some(failure);
    command
}

#[test]
fn what_was_received_is_all_in_the_spec() {
    for origin in [
        Origin::Api,
        Origin::Button { delivery: "g-2".into(), check: 3 },
        Origin::Comment { delivery: "g-3".into(), comment: 4, index: 0 },
    ] {
        let command = Command { origin, ..command() };
        assert_eq!(received("c-1", &spec(&command)).unwrap(), command);
        assert_eq!(kept(object(&command)).command, command);
    }
}

#[test]
fn what_changed_is_all_in_the_status() {
    let mut command = command();
    command.step_mut(Stage::Rollout).state = StepState::Running;
    command.lineage.metrics.insert("accuracy".into(), 0.1 + 0.2);
    (command.state, command.version) = (State::Running, 3);
    let mut object = object(&command);
    object.status = Some(status(&command, 8).unwrap());
    let shown = object.status.as_ref().unwrap();
    assert_eq!((shown.state.as_str(), shown.step.as_deref(), shown.ended), ("running", Some("rollout"), false));
    let kept = kept(object);
    assert_eq!((kept.command, kept.term, kept.readable), (command, 8, true));
}

#[test]
fn one_that_cannot_be_read_is_shown_as_failed() {
    let mut command = command();
    command.version = 4;
    let mut object = object(&command);
    let mut status = status(&command, 8).unwrap();
    status.record.insert("state".into(), "sulking".into());
    object.status = Some(status);
    let kept = kept(object.clone());
    assert!(!kept.readable);
    let shown = kept.command;
    assert_eq!((shown.state, shown.version, shown.seq, shown.actor.as_str()), (State::Failed, 4, 5, "somebody"));
    assert!(shown.failure.unwrap().message.contains("sulking"));
    object.spec.trace = "x".into();
    object.spec.repository = "../..".into();
    assert_eq!(super::kept(object).command.repository.owner, "unknown");
}

#[test]
fn a_record_never_grows_beyond_what_etcd_takes() {
    let mut command = command();
    command.answer = "é".repeat(LARGEST);
    let written = status(&command, 0).unwrap();
    let kept: Command = serde_json::from_value(Value::Object(written.record)).unwrap();
    assert_eq!(kept.answer.len(), ANSWER);
    command.arguments = vec!["x".repeat(LARGEST)];
    assert_eq!(status(&command, 0).unwrap_err().reason, Reason::ResourceExhausted);
}
