//! Properties of `decide`: whatever happens, a command comes to its end, and nothing is done twice.

use std::{collections::HashMap, time::UNIX_EPOCH};

use kfops_core::{Failure, TraceContext};
use proptest::prelude::*;

use super::*;
use crate::{
    command::{Origin, PullRequest, Repository},
    samples,
};

fn command(verb: Verb) -> Command {
    let repository = Repository::parse("o/r").unwrap();
    let trace = TraceContext::from_random([7; 24]);
    Command::new("c-1".into(), verb, (repository, 1), "author".into(), Origin::Api, trace, UNIX_EPOCH)
}

fn pull() -> PullRequest {
    PullRequest { head: "a".repeat(40), ..samples::pull() }
}

/// What the world does between two decisions.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Succeed,
    Fail(Reason),
    /// The process dies before the outcome is recorded.
    Die,
    /// Someone cancels, and the action has no outcome yet.
    Cancel,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        8 => Just(Fate::Succeed),
        1 => Just(Fate::Fail(Reason::TaskFailed)),
        1 => Just(Fate::Fail(Reason::GithubUnavailable)),
        3 => Just(Fate::Die),
        1 => Just(Fate::Cancel),
    ]
}

/// The driver in small: applies an action to the record.
fn apply(command: &mut Command, action: Action, fate: Fate, seen: &mut Observed) {
    if let Fate::Cancel = fate {
        command.cancel = true;
        return;
    }
    if let Fate::Die = fate {
        *seen = Observed { turn: false, target: false };
        return;
    }
    match action {
        Action::ReadHead => command.pull = Some(pull()),
        Action::AwaitTurn => seen.turn = true,
        Action::AwaitTarget => seen.target = true,
        Action::Begin(stage) => command.step_mut(stage).state = StepState::Running,
        Action::Perform(stage) => {
            if let Fate::Fail(reason) = fate {
                command.step_mut(stage).state = StepState::Failed;
                command.failure = Some(Failure::new(reason, "x"));
            } else {
                command.step_mut(stage).state = StepState::Succeeded;
            }
        }
        Action::Cancel(stage) => command.step_mut(stage).state = StepState::Canceled,
        Action::Conclude(state) => command.outcome = Some(state),
        Action::Report => command.posted.finished = true,
        Action::End => command.state = command.outcome.unwrap(),
        Action::Rest => {}
    }
}

proptest! {
    #[test]
    fn every_command_ends_and_repeats_nothing(
        verb in prop::sample::select(Verb::ALL.to_vec()),
        fates in prop::collection::vec(fate(), 0..60),
    ) {
        let mut command = command(verb);
        let mut seen = Observed { turn: false, target: false };
        let mut done: HashMap<&str, usize> = HashMap::new();
        let mut performed = Vec::new();
        let mut fates = fates.into_iter();
        let mut steps = 0;
        loop {
            let action = decide(&command, seen);
            if action == Action::Rest {
                break;
            }
            steps += 1;
            prop_assert!(steps < 200, "no end: {command:?}");
            // Once fate has nothing more in store, all goes well.
            let fate = fates.next().unwrap_or(Fate::Succeed);
            if let Action::Begin(stage) = action {
                prop_assert!(!command.cancel || command.progress(Stage::Rollout).done(), "begun after the cancellation");
                prop_assert_eq!(command.progress(stage), StepState::Pending);
            }
            if let Action::Perform(stage) = action {
                // The intent is on record, everything before it is done, and it is not.
                prop_assert_eq!(command.progress(stage), StepState::Running);
                for earlier in plan(verb).iter().take_while(|s| **s != stage) {
                    prop_assert!(command.progress(*earlier).done());
                }
                if stage >= Stage::Recheck && verb.environment().is_some() {
                    prop_assert!(seen.target, "without the lock");
                }
                if matches!(fate, Fate::Succeed) {
                    *done.entry(stage.as_str()).or_default() += 1;
                    performed.push(stage);
                }
            }
            apply(&mut command, action, fate, &mut seen);
        }
        prop_assert!(command.state.ended());
        prop_assert!(command.posted.finished);
        prop_assert!(done.values().all(|times| *times == 1), "{done:?}");
        if command.state == State::Succeeded {
            prop_assert_eq!(performed.as_slice(), plan(verb));
        }
        if performed.contains(&Stage::Rollout) {
            prop_assert!(command.state != State::Canceled && command.state != State::Refused);
        }
    }
}

#[test]
fn an_unreadable_command_asks_github_nothing() {
    let mut command = command(Verb::Deploy);
    command.unreadable = Some(Failure::new(Reason::InvalidArgument, "x"));
    assert_eq!(decide(&command, Observed { turn: true, target: true }), Action::Conclude(State::Refused));
}

#[test]
fn a_gate_that_cannot_ask_fails_and_does_not_refuse() {
    let mut command = command(Verb::Deploy);
    command.pull = Some(pull());
    command.step_mut(Stage::Gate).state = StepState::Failed;
    command.failure = Some(Failure::new(Reason::GithubUnavailable, "x"));
    let seen = Observed { turn: true, target: true };
    assert_eq!(decide(&command, seen), Action::Conclude(State::Failed));
    command.failure = Some(Failure::new(Reason::BehindBase, "x"));
    assert_eq!(decide(&command, seen), Action::Conclude(State::Refused));
}
