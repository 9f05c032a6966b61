//! Which commit a comment can have meant.

use std::time::{Duration, UNIX_EPOCH};

use kfops_core::TraceContext;

use super::*;
use crate::{
    command::{Origin, PullRequest, State},
    decide::{Action, Observed, decide},
    samples,
    step::StepState,
    verb::Verb,
};

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn push(head: &str, seconds: u64) -> Push {
    Push {
        repository: Repository::parse("o/r").unwrap(),
        pull_request: 1,
        before: "before".into(),
        head: head.into(),
        at: at(seconds),
    }
}

fn command(verb: Verb, written: Option<u64>, bound: Option<&str>) -> Command {
    let on = (Repository::parse("o/r").unwrap(), 1);
    let trace = TraceContext::from_random([1; 24]);
    let mut command = Command::new("c-1".into(), verb, on, "ann".into(), Origin::Api, trace, at(written.unwrap_or(10)));
    command.written = written.map(at);
    command.pull =
        bound.map(|head| PullRequest { head: head.into(), author: "ann".into(), seen: at(10), ..samples::pull() });
    command
}

fn begun(stage: Stage, bound: &str) -> Command {
    let mut command = command(Verb::Ship, Some(10), Some(bound));
    for done in [Stage::Gate, Stage::Source, Stage::Build, Stage::Compile, Stage::Tag, Stage::Run, Stage::Recheck] {
        if done < stage {
            let step = command.step_mut(done);
            (step.state, step.start) = (StepState::Succeeded, Some(at(11)));
        }
    }
    let step = command.step_mut(stage);
    (step.state, step.start) = (StepState::Running, Some(at(12)));
    command
}

/// What a push does to a command: by which commit it is superseded then.
fn after(mut command: Command, push: &Push) -> Option<String> {
    command.overtaken(push, &push.head, at(1000));
    command.superseded_by
}

#[test]
fn a_push_supersedes_what_was_written_before_it() {
    let new = Some("new".to_owned());
    for bound in [None, Some("old"), Some("new")] {
        for verb in [Verb::Build, Verb::Ship, Verb::Plan, Verb::Retry] {
            assert_eq!(after(command(verb, Some(10), bound), &push("new", 11)), new, "{verb:?} {bound:?}");
            // Written later, it is about this one or a newer one, whenever the push is told.
            assert_eq!(after(command(verb, Some(10), bound), &push("new", 9)), None, "{verb:?} {bound:?}");
        }
        for verb in [Verb::Status, Verb::Cancel, Verb::Rollback, Verb::Unlock] {
            assert_eq!(after(command(verb, Some(10), bound), &push("new", 11)), None, "{verb:?} {bound:?}");
        }
    }
    // In the same second nobody knows, unless it has seen the new head.
    assert_eq!(after(command(Verb::Ship, Some(10), None), &push("new", 10)), new);
    assert_eq!(after(command(Verb::Ship, Some(10), Some("old")), &push("new", 10)), new);
    assert_eq!(after(command(Verb::Ship, Some(10), Some("new")), &push("new", 10)), None);
}

#[test]
fn what_comes_late_is_compared_with_the_newest_push() {
    for (written, superseded) in [(10, true), (11, false), (12, false)] {
        let mut command = command(Verb::Ship, Some(written), None);
        assert_eq!(command.written_before("new", at(11)), superseded);
        assert_eq!(command.superseded_by.is_some(), superseded);
    }
    assert!(!command(Verb::Cancel, Some(10), None).written_before("new", at(11)));
    assert!(!command(Verb::Ship, None, None).written_before("new", at(11)));
}

#[test]
fn what_has_no_comment_is_superseded_by_what_it_has_not_seen() {
    assert_eq!(after(command(Verb::Build, None, Some("old")), &push("new", 11)), Some("new".into()));
    assert_eq!(after(command(Verb::Build, None, None), &push("new", 11)), None);
    assert_eq!(after(command(Verb::Build, None, Some("new")), &push("new", 11)), None);
    assert_eq!(after(command(Verb::Build, None, Some("newer")), &push("new", 9)), None);
}

#[test]
fn what_is_under_way_goes_on_with_the_commit_that_was_meant_and_ends_with_another() {
    let observed = Observed { turn: true, target: true };
    for stage in [Stage::Source, Stage::Build, Stage::Run, Stage::Recheck, Stage::Rollout] {
        let mut meant = begun(stage, "old");
        assert!(!meant.overtaken(&push("new", 11), "new", at(1000)));
        let mut unmeant = begun(stage, "new");
        assert!(unmeant.overtaken(&push("new", 11), "newer", at(1000)));
        // A later push does not hide it.
        assert!(!unmeant.overtaken(&push("newer", 12), "newer", at(1000)));
        assert!(unmeant.unmeant());
        let action = decide(&unmeant, observed);
        let ends =
            if stage.collection().is_some() { Action::Cancel(stage) } else { Action::Conclude(State::Superseded) };
        assert_eq!(action, ends, "{stage:?}");
        unmeant.step_mut(stage).state = StepState::Canceled;
        assert_eq!(decide(&unmeant, observed), Action::Conclude(State::Superseded));
        assert_eq!(decide(&meant, observed), Action::Perform(stage));
    }
    // What is live is told to its end.
    let mut live = begun(Stage::Merge, "new");
    live.step_mut(Stage::Rollout).state = StepState::Succeeded;
    live.superseded_by = Some("new".into());
    assert_eq!(decide(&live, observed), Action::Perform(Stage::Merge));
}

#[test]
fn of_two_pushes_in_a_second_the_one_that_knows_the_other_is_newer() {
    assert!(push("new", 11).follows("old", at(10)) && !push("new", 9).follows("old", at(10)));
    assert!(push("new", 10).follows("before", at(10)) && !push("new", 10).follows("other", at(10)));
}
