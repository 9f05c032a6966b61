//! Rules of the default branch, queues, and the end of patience.

use std::time::Duration;

use kfops_core::Reason;
use kfops_scm_bot::{
    command::{Command, State},
    step::{Stage, StepState},
};

use super::{PRODUCTION, STAGING, message, reason};
use crate::{repository::PROJECT, sim::Sim};

const OTHER: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn base(sim: &Sim, more: &str) {
    sim.look(|state| state.hub.base = Some(PROJECT.to_owned() + more));
}

fn refused(command: &Command, why: Reason, says: &str) {
    assert_eq!((command.state, reason(command)), (State::Refused, why), "{command:#?}");
    assert!(message(command).contains(says), "{command:#?}");
}

fn waits(sim: &mut Sim, id: &str) -> String {
    let command = sim.until(id, |command| command.steps.iter().any(|step| step.message.contains("waits for")));
    command.steps.into_iter().find(|step| step.message.contains("waits for")).unwrap().message
}

#[test]
fn a_fork_runs_nothing_before_somebody_approved_that_commit() {
    let mut sim = Sim::new();
    sim.look(|state| {
        let pull = state.hub.pull(1);
        (pull.fork, pull.author) = (true, "stranger".into());
    });
    refused(&sim.told(1, "stranger", "/build_run"), Reason::PermissionDenied, "");
    let verbs = ["/build", "/build_run", "/ship", "/plan"];
    for body in verbs {
        refused(&sim.told(1, "author", body), Reason::PolicyRefused, "policy.forks asks for 1 approval of 3f2c1e7");
    }
    assert!(sim.look(|state| state.jobs.begun.is_empty()));
    // Its author's own word, and a comment, are no approval.
    sim.look(|state| {
        state.hub.pull(1).review("stranger", "APPROVED");
        state.hub.pull(1).review("boss", "COMMENTED");
    });
    assert_eq!(reason(&sim.told(1, "author", "/build")), Reason::PolicyRefused);
    sim.look(|state| state.hub.pull(1).review("author", "APPROVED"));
    assert_eq!(sim.told(1, "author", "/build_run").state, State::Succeeded);
    // Another commit, another approval.
    sim.push(1, OTHER);
    refused(&sim.told(1, "author", "/build"), Reason::PolicyRefused, "and 1 of an older commit");
    // What only looks asks for none.
    assert_eq!(sim.told(1, "stranger", "/status").state, State::Succeeded);
    base(&sim, "policy: {forks: {users: [boss]}}\n");
    refused(&sim.told(1, "author", "/build"), Reason::PolicyRefused, "policy.forks lets only boss");
    assert_eq!(sim.told(1, "boss", "/build").state, State::Succeeded);
}

#[test]
fn models_are_deployed_from_named_branches_only() {
    let mut sim = Sim::new();
    sim.look(|state| {
        state.hub.pull(1).base = "next".into();
        state.hub.pull(2).base = "release/7".into();
    });
    assert_eq!(sim.told(1, "author", "/build_run").state, State::Succeeded);
    for body in ["/deploy", "/staging_deploy", "/ship"] {
        refused(&sim.told(1, "author", body), Reason::PolicyRefused, "the pull request goes into next");
    }
    // Naming it in the pull request's own file changes nothing.
    sim.look(|state| state.hub.set_project(&(PROJECT.to_owned() + "policy: {branches: [next]}\n")));
    refused(&sim.told(1, "author", "/deploy"), Reason::PolicyRefused, "from pull requests into main");
    base(&sim, "policy: {branches: [next, release/*]}\n");
    for pull in [1, 2] {
        assert_eq!(sim.told(pull, "author", "/ship").state, State::Succeeded);
    }
    assert_eq!(sim.look(|state| state.hub.pull(1).merges.len()), 1);
}

#[test]
fn three_deploys_to_one_place_go_one_by_one() {
    let mut sim = Sim::new();
    for pull in 1..=4 {
        sim.told(pull, "author", "/build_run");
    }
    sim.look(|state| {
        state.jobs.live_from_the_beginning(STAGING, "iris-00001");
        state.jobs.held.insert("rollouts");
    });
    let first = sim.ask(1, "author", "/staging_deploy");
    sim.until(&first, |command| command.steps.iter().any(|step| step.title == "canary 10 %"));
    let mut queue = Vec::new();
    for (pull, place) in [(2, 1), (3, 2), (4, 3)] {
        let id = sim.ask(pull, "author", "/staging_deploy");
        let said = waits(&mut sim, &id);
        assert!(said.contains(&first) && said.ends_with(&format!("place {place} in the queue")), "{said}");
        queue.push(id);
    }
    let status = sim.told(1, "author", "/status").answer;
    assert!(status.contains("3 commands wait") && status.contains(&queue[2]), "{status}");
    // One of them does not want to any more.
    sim.told(2, "author", "/cancel");
    assert_eq!(sim.ended(&queue[0]).state, State::Canceled);
    sim.look(|state| state.jobs.held.clear());
    for id in [&first, &queue[1], &queue[2]] {
        assert_eq!(sim.ended(id).state, State::Succeeded);
    }
    sim.look(|state| {
        let service = &state.jobs.services[STAGING];
        assert_eq!(service.fences, [1, 2, 3]);
        let order: Vec<_> = state.jobs.of("rollouts").iter().map(|job| job.id.clone()).collect();
        let of = |id: &String| state.book.commands[id].resource(Stage::Rollout);
        assert_eq!(order, [of(&first), of(&queue[1]), of(&queue[2])]);
        assert_eq!(state.hub.bearers("Deployed-to-staging"), [4]);
        assert!(service.overlaps.is_empty());
    });
}

/// Two deploys to one place, of which the first goes on for longer than the second may wait.
fn overtaxed(sim: &mut Sim) -> (String, String) {
    base(sim, "timeouts: {wait: 10m}\n");
    for pull in [1, 2] {
        sim.told(pull, "author", "/build_run");
    }
    sim.look(|state| {
        state.jobs.live_from_the_beginning(STAGING, "iris-00001");
        state.jobs.held.insert("rollouts");
    });
    let first = sim.ask(1, "author", "/staging_deploy");
    sim.until(&first, |command| command.progress(Stage::Rollout) == StepState::Running);
    (first, sim.ask(2, "author", "/staging_deploy"))
}

fn too_late(sim: &mut Sim, id: &str, first: &str) {
    let late = sim.ended(id);
    assert_eq!((late.state, reason(&late)), (State::Failed, Reason::DeadlineExceeded), "{late:#?}");
    assert!(message(&late).contains(&format!("waited longer than 10m for {first}")), "{late:#?}");
    let took = late.ended.unwrap().duration_since(late.received).unwrap();
    assert!((600..660).contains(&took.as_secs()), "{took:?}");
}

#[test]
fn waiting_has_an_end() {
    let mut sim = Sim::new();
    let (first, waits) = overtaxed(&mut sim);
    // For its turn too.
    let turn = sim.ask(1, "author", "/build");
    too_late(&mut sim, &waits, &first);
    too_late(&mut sim, &turn, &first);
    assert!(sim.look(|state| state.book.locks[STAGING].queue.is_empty()));
    sim.look(|state| state.jobs.held.clear());
    assert_eq!(sim.ended(&first).state, State::Succeeded);
    sim.pass(Duration::from_secs(60));
    assert_eq!(sim.look(|state| state.jobs.of("rollouts").len()), 1);
}

#[test]
fn waiting_has_an_end_for_who_takes_over_too() {
    let mut sim = Sim::new();
    let (first, waiting) = overtaxed(&mut sim);
    waits(&mut sim, &waiting);
    sim.pass(Duration::from_secs(300));
    sim.crash();
    too_late(&mut sim, &waiting, &first);
}

#[test]
fn force_is_for_those_who_may_and_only_for_the_base() {
    let mut sim = Sim::new();
    for pull in 1..=3 {
        sim.told(pull, "author", "/build_run");
        sim.look(|state| state.hub.pull(pull).behind = 1);
    }
    refused(&sim.told(1, "boss", "/deploy"), Reason::BehindBase, "1 commit behind main");
    refused(&sim.told(1, "author", "/deploy --force"), Reason::PermissionDenied, "policy.force");
    base(&sim, "policy: {force: {users: [mate]}}\n");
    refused(&sim.told(1, "boss", "/deploy --force"), Reason::PolicyRefused, "policy.force lets only mate");
    // It overcomes nothing else.
    sim.look(|state| state.hub.pull(1).mergeable = Some(false));
    refused(&sim.told(1, "mate", "/deploy --force"), Reason::NotMergeable, "");
    sim.look(|state| {
        let pull = state.hub.pull(1);
        (pull.mergeable, pull.head) = (Some(true), OTHER.into());
    });
    refused(&sim.told(1, "mate", "/deploy --force"), Reason::RunOfOtherCommit, "");
    base(&sim, "policy: {force: {users: [mate]}, deploy: {checks: [unit]}}\n");
    refused(
        &sim.told(2, "mate", "/deploy --force"),
        Reason::PolicyRefused,
        "policy.deploy asks that unit has succeeded",
    );
    assert!(sim.look(|state| state.jobs.of("rollouts").is_empty()));
    sim.look(|state| {
        let pull = state.hub.pull(2);
        pull.succeeded.insert(pull.head.clone(), vec!["unit".into()]);
    });
    assert_eq!(sim.told(2, "mate", "/deploy --force").state, State::Succeeded);
    assert!(sim.look(|state| state.jobs.services[PRODUCTION].live.is_some() && state.hub.pull(2).merged));
}
