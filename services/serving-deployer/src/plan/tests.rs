use std::time::SystemTime;

use proptest::prelude::*;

use super::*;
use crate::{
    rollout::{Request, Source, State, Strategy as Shifting},
    service::{Model, ServiceName},
};

pub(crate) fn request(canary: &[u8]) -> Request {
    Request {
        service: ServiceName { namespace: "team".into(), name: "iris".into() },
        source: Source {
            key: "k".into(),
            digest: kfops_core::Digest::of(b""),
            commit: String::new(),
            repository: String::new(),
        },
        template: "t".into(),
        sample: String::new(),
        golden: String::new(),
        model: Model { uri: "file:///m".into(), digest: String::new(), size_bytes: 0 },
        run: String::new(),
        strategy: Shifting { canary: canary.to_vec(), ..Shifting::default() },
        fence: 0,
    }
}

fn rollout(canary: &[u8], previous: &str) -> Rollout {
    let mut rollout = Rollout::new("r".into(), request(canary), None, SystemTime::UNIX_EPOCH);
    rollout.previous = previous.into();
    rollout
}

/// The outside world, as simple as it can be.
struct Outside {
    world: World,
    live: String,
    stopped: Vec<String>,
    proven: bool,
}

impl Outside {
    fn new(previous: &str) -> Self {
        let ready = Server::Ready("127.0.0.1:1".into());
        Self {
            world: World {
                new: Server::Absent,
                live: (!previous.is_empty()).then_some(ready),
                doing: String::new(),
                share: None,
                verdict: Verdict::Hold,
                elapsed: Duration::ZERO,
                ready_timeout: Duration::from_secs(60),
            },
            live: previous.into(),
            stopped: Vec::new(),
            proven: false,
        }
    }

    fn carry_out(&mut self, rollout: &mut Rollout, action: &Action) {
        let now = SystemTime::UNIX_EPOCH;
        match action {
            Action::Begin => {
                rollout.state = State::Running;
                rollout.advance(Stage::Revision, now);
            }
            Action::Admit => rollout.revision = "iris-00002".into(),
            Action::Start => self.world.new = Server::Starting,
            Action::Wait | Action::Watch | Action::End => {}
            Action::Shift(percent) => {
                (self.world.share, self.world.verdict) = (Some(*percent), Verdict::Hold);
            }
            Action::Prove => {
                self.proven = true;
                rollout.advance(after(rollout, None), now);
            }
            Action::Advance(stage) => {
                self.world.verdict = Verdict::Hold;
                rollout.advance(*stage, now);
            }
            Action::EndCanary(index, share) => rollout.end_canary(*index, *share, now),
            Action::Promote => rollout.advance(Stage::Drain, now),
            Action::Retire => {
                self.live = rollout.revision.clone();
                self.stopped.push(rollout.previous.clone());
                rollout.end(State::Succeeded, now);
            }
            Action::Fail(failure) => rollout.fail(failure.clone(), now),
            Action::Restore => {
                self.stopped.push(rollout.revision.clone());
                self.world.share = None;
                rollout.end(State::Succeeded, now);
            }
        }
    }
}

fn run(rollout: &mut Rollout, outside: &mut Outside) -> Vec<Action> {
    let mut done = Vec::new();
    for _ in 0..100 {
        let action = next(rollout, &outside.world);
        match &action {
            Action::Wait => outside.world.new = Server::Ready("127.0.0.1:2".into()),
            Action::Watch => outside.world.verdict = Verdict::Pass,
            Action::End => return done,
            _ => {}
        }
        outside.carry_out(rollout, &action);
        done.push(action);
    }
    panic!("it does not end: {done:?}");
}

#[test]
fn a_canary_goes_all_the_way() {
    let (mut rollout, mut outside) = (rollout(&[10, 50], "iris-00001"), Outside::new("iris-00001"));
    let done = run(&mut rollout, &mut outside);
    let shifts: Vec<&Action> = done.iter().filter(|a| matches!(a, Action::Shift(_))).collect();
    assert_eq!(shifts, [&Action::Shift(0), &Action::Shift(10), &Action::Shift(50), &Action::Shift(100)]);
    assert_eq!((outside.live.as_str(), rollout.state), ("iris-00002", State::Succeeded));
    assert_eq!(outside.stopped, ["iris-00001"]);
    let titles: Vec<&str> = rollout.steps.iter().map(|s| s.title.as_str()).collect();
    assert_eq!(titles, ["revision", "proof", "canary 10 %", "canary 50 %", "promote", "drain"]);
    assert!(rollout.steps.iter().all(|s| s.state == State::Succeeded && s.end.is_some()));
}

#[test]
fn a_promotion_ends_the_canary_under_way_and_skips_the_rest() {
    let (mut rollout, mut outside) = (rollout(&[10, 50, 75], "iris-00001"), Outside::new("iris-00001"));
    while rollout.stage != Stage::Canary(0) || outside.world.share != Some(10) {
        let action = next(&rollout, &outside.world);
        if action == Action::Wait {
            outside.world.new = Server::Ready("127.0.0.1:2".into());
        }
        outside.carry_out(&mut rollout, &action);
    }
    rollout.promote = true;
    rollout.note("412 requests, 0 errors", None, SystemTime::UNIX_EPOCH);
    let done = run(&mut rollout, &mut outside);
    assert!(!done.contains(&Action::Shift(50)) && done.contains(&Action::Shift(100)), "{done:?}");
    let steps: Vec<(&str, State, &str)> =
        rollout.steps.iter().map(|s| (s.title.as_str(), s.state, s.message.as_str())).collect();
    assert_eq!(
        steps[2..5],
        [
            ("canary 10 %", State::Succeeded, "412 requests, 0 errors; promoted by request"),
            ("canary 50 %", State::Skipped, "promoted by request"),
            ("canary 75 %", State::Skipped, "promoted by request"),
        ]
    );
    assert_eq!((rollout.state, outside.live.as_str()), (State::Succeeded, "iris-00002"));
}

#[test]
fn a_promotion_before_the_canary_is_remembered_and_the_proof_is_not_skipped() {
    let (mut rollout, mut outside) = (rollout(&[10, 50], "iris-00001"), Outside::new("iris-00001"));
    rollout.promote = true;
    let done = run(&mut rollout, &mut outside);
    assert!(outside.proven);
    let shifts: Vec<&Action> = done.iter().filter(|a| matches!(a, Action::Shift(_))).collect();
    assert_eq!(shifts, [&Action::Shift(0), &Action::Shift(100)]);
    let skipped = rollout.steps.iter().filter(|s| s.state == State::Skipped);
    assert_eq!(skipped.map(|s| s.title.as_str()).collect::<Vec<_>>(), ["canary 10 %", "canary 50 %"]);
}

#[test]
fn the_first_rollout_has_no_canary() {
    let (mut rollout, mut outside) = (rollout(&[10, 50], ""), Outside::new(""));
    let done = run(&mut rollout, &mut outside);
    assert!(!done.contains(&Action::Shift(10)));
    assert!(outside.proven && rollout.state == State::Succeeded);
}

#[test]
fn a_server_that_dies_fails_the_rollout_and_names_what_stays() {
    let (mut rollout, mut outside) = (rollout(&[], "iris-00001"), Outside::new("iris-00001"));
    for _ in 0..3 {
        let action = next(&rollout, &outside.world);
        outside.carry_out(&mut rollout, &action);
    }
    outside.world.new = Server::Exited("cannot load the model".into());
    let Action::Fail(failure) = next(&rollout, &outside.world) else { panic!("not failed") };
    assert_eq!(failure.reason, Reason::RevisionNotReady);
    assert_eq!(
        failure.message,
        "revision iris-00002 did not become ready: cannot load the model. Live stays iris-00001"
    );
}

#[test]
fn after_promotion_a_cancel_comes_too_late() {
    let (mut rollout, mut outside) = (rollout(&[], "iris-00001"), Outside::new("iris-00001"));
    outside.world.new = Server::Ready("127.0.0.1:2".into());
    rollout.stage = Stage::Drain;
    rollout.cancel = true;
    assert_eq!(next(&rollout, &outside.world), Action::Retire);
}

/// Something that happens outside between two looks.
#[derive(Debug, Clone)]
enum Event {
    Ready,
    Dies,
    Cancel,
    Promote,
    Pass,
    FailGate,
    LiveDown,
    LiveUp,
    Later,
    /// Everything was killed and started again.
    Crash,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => Just(Event::Ready),
        1 => Just(Event::Dies),
        1 => Just(Event::Cancel),
        1 => Just(Event::Promote),
        5 => Just(Event::Pass),
        1 => Just(Event::FailGate),
        1 => Just(Event::LiveDown),
        2 => Just(Event::LiveUp),
        1 => Just(Event::Later),
        1 => Just(Event::Crash),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_one_proven_revision_is_live(
        canary in proptest::sample::subsequence(vec![5u8, 10, 25, 50, 75], 0..4),
        first: bool,
        events in proptest::collection::vec(event(), 0..60),
    ) {
        let previous = if first { "" } else { "iris-00001" };
        let (mut rollout, mut outside) = (rollout(&canary, previous), Outside::new(previous));
        for event in events {
            match event {
                Event::Ready if outside.world.new == Server::Starting => outside.world.new = Server::Ready("a".into()),
                Event::Dies if outside.world.new != Server::Absent => outside.world.new = Server::Exited("x".into()),
                Event::Cancel => rollout.cancel = true,
                Event::Promote => rollout.promote = true,
                Event::Pass => outside.world.verdict = Verdict::Pass,
                Event::FailGate => outside.world.verdict = Verdict::Fail("x".into()),
                Event::LiveDown if !first => outside.world.live = Some(Server::Exited("x".into())),
                Event::LiveUp if !first => outside.world.live = Some(Server::Ready("b".into())),
                Event::Later => outside.world.elapsed += Duration::from_secs(40),
                Event::Crash => {
                    outside.world.new = Server::Absent;
                    outside.world.elapsed = Duration::ZERO;
                    outside.world.verdict = Verdict::Hold;
                }
                _ => {}
            }
            let action = next(&rollout, &outside.world);
            if let Action::Shift(percent) = action {
                prop_assert!(percent == 0 || outside.proven, "traffic before the proof");
                prop_assert!(rollout.failure.is_none(), "traffic after a failure");
            }
            if action == Action::Promote {
                prop_assert!(outside.proven && outside.world.share == Some(100));
            }
            outside.carry_out(&mut rollout, &action);
        }
        // Left alone, it ends.
        outside.world.live = (!first).then(|| Server::Ready("b".into()));
        outside.world.elapsed = Duration::ZERO;
        run(&mut rollout, &mut outside);
        let promoted = rollout.state == State::Succeeded;
        prop_assert_eq!(outside.live.as_str(), if promoted { "iris-00002" } else { previous });
        prop_assert_eq!(rollout.failure.is_none(), promoted);
        prop_assert!(!outside.stopped.contains(&outside.live) || outside.live.is_empty());
        prop_assert!(rollout.steps.iter().all(|s| s.end.is_some()));
    }
}
