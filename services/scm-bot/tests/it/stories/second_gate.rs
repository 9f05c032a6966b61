//! The gate is asked twice: hours may lie between the comment and the moment when something would go live.

use kfops_core::Reason;
use kfops_scm_bot::{
    MergeMethod,
    command::{Command, MergeState, State},
};

use super::{PRODUCTION, message, reason};
use crate::{repository::PROJECT, sim::Sim};

/// A world with a policy, in which #1 is approved and its check is green.
fn world(policy: &str) -> Sim {
    let sim = Sim::new();
    sim.look(|state| {
        state.hub.base = Some(PROJECT.to_owned() + policy);
        state.jobs.live_from_the_beginning(PRODUCTION, "iris-00001");
        let pull = state.hub.pull(1);
        pull.review("mate", "APPROVED");
        let head = pull.head.clone();
        pull.succeeded.insert(head, vec!["test".into()]);
    });
    sim
}

/// `/ship`, with something that happens while it trains.
fn ship(sim: &mut Sim, body: &str, meanwhile: fn(&mut Sim)) -> Command {
    sim.look(|state| state.jobs.held.insert("runs"));
    let id = sim.ask(1, "author", body);
    assert!(sim.wait(|state| !state.jobs.of("runs").is_empty()), "{}", sim.story());
    meanwhile(sim);
    sim.look(|state| state.jobs.held.clear());
    sim.ended(&id)
}

/// Nothing went live.
fn untouched(sim: &Sim) {
    sim.look(|state| {
        assert!(state.jobs.of("rollouts").is_empty() && !state.hub.pull(1).merged);
        assert_eq!(state.jobs.services[PRODUCTION].live.as_deref(), Some("iris-00001"));
    });
}

#[test]
fn what_held_at_the_start_must_hold_at_the_end() {
    const POLICY: &str = "policy: {ship: {approvals: 1, checks: [test]}}\n";
    type Change = (&'static str, fn(&mut Sim), Reason, &'static str);
    let changes: [Change; 6] = [
        (
            "the approval is taken back",
            |sim| sim.look(|state| state.hub.pull(1).review("mate", "DISMISSED")),
            Reason::PolicyRefused,
            "policy.ship asks for 1 approval",
        ),
        (
            "the check turns red",
            |sim| sim.look(|state| state.hub.pull(1).succeeded.clear()),
            Reason::PolicyRefused,
            "test",
        ),
        (
            "the actor may not write any more",
            |sim| sim.look(|state| drop(state.hub.permissions.insert("author".into(), "read".into()))),
            Reason::PermissionDenied,
            "author has read permission",
        ),
        (
            "the policy names others",
            |sim| sim.look(|state| state.hub.base = Some(PROJECT.to_owned() + "policy: {ship: {users: [boss]}}\n")),
            Reason::PolicyRefused,
            "policy.ship lets only boss do this",
        ),
        (
            "the team is another one",
            |sim| {
                sim.look(|state| {
                    state.hub.base = Some(PROJECT.to_owned() + "policy: {ship: {teams: [ml-platform]}}\n");
                });
            },
            Reason::PolicyRefused,
            "team ml-platform",
        ),
        (
            "the head is in a fork after all",
            |sim| {
                sim.look(|state| {
                    let pull = state.hub.pull(1);
                    pull.review("mate", "DISMISSED");
                    pull.fork = true;
                });
            },
            Reason::PolicyRefused,
            "approval",
        ),
    ];
    for (what, change, expected, says) in changes {
        let mut sim = world(POLICY);
        let command = ship(&mut sim, "/ship", change);
        assert_eq!((command.state, reason(&command)), (State::Failed, expected), "{what}: {command:#?}");
        assert!(message(&command).contains(says), "{what}: {}", message(&command));
        untouched(&sim);
    }
    let mut sim = world(POLICY);
    assert_eq!(ship(&mut sim, "/ship", |_| {}).state, State::Succeeded);
}

#[test]
fn whoever_may_not_force_any_more_does_not() {
    let mut sim = world("policy: {force: {users: [author]}}\n");
    sim.look(|state| state.hub.pull(1).behind = 1);
    let command = ship(&mut sim, "/ship --force", |sim| {
        sim.look(|state| state.hub.base = Some(PROJECT.to_owned() + "policy: {force: {users: [boss]}}\n"));
    });
    assert_eq!((reason(&command), message(&command)), (Reason::PolicyRefused, "policy.force lets only boss do this"));
    untouched(&sim);
}

#[test]
fn a_rollback_that_waited_asks_again_who_may() {
    let mut sim = Sim::new();
    sim.told(1, "author", "/ship");
    sim.told(2, "boss", "/ship --force");
    sim.told(3, "boss", "/build_run");
    sim.look(|state| state.jobs.held.insert("rollouts"));
    let first = sim.ask(3, "boss", "/deploy --force");
    assert!(sim.wait(|state| state.jobs.services[PRODUCTION].canary.is_some()));
    let waits = sim.ask(4, "author", "/rollback");
    sim.until(&waits, |command| command.steps.iter().any(|step| step.message.contains("waits for")));
    // Reviews and checks keep nobody from undoing; a permission does.
    sim.look(|state| {
        state.hub.base =
            Some(PROJECT.to_owned() + "policy: {deploy: {permission: maintain, approvals: 2, checks: [x]}}\n");
    });
    sim.told(3, "boss", "/cancel");
    sim.ended(&first);
    let refused = sim.ended(&waits);
    assert_eq!((refused.state, reason(&refused)), (State::Refused, Reason::PermissionDenied), "{refused:#?}");
    sim.look(|state| state.jobs.held.clear());
    assert_eq!(sim.told(4, "boss", "/rollback").state, State::Succeeded);
}

#[test]
fn the_second_gate_costs_no_call_where_the_first_one_was_just_asked() {
    let mut sim = world("policy: {deploy: {approvals: 1, checks: [test]}}\n");
    sim.told(1, "author", "/build_run");
    let deployed = sim.told(1, "author", "/deploy --canary 0");
    assert_eq!(deployed.state, State::Succeeded, "{deployed:#?}");
    let asked = sim.look(|state| state.hub.calls.iter().filter(|call| **call == "permission").count());
    assert!(
        deployed.github_calls <= 8 && asked == 2,
        "{} calls, {asked} of them for /build_run's and its own permission",
        deployed.github_calls
    );
    sim.look(|state| state.hub.calls.clear());
    let mut sim = world("policy: {ship: {approvals: 1}}\n");
    let shipped = ship(&mut sim, "/ship", |_| {});
    let asked = sim.look(|state| state.hub.calls.iter().filter(|call| **call == "permission").count());
    assert_eq!((shipped.state, asked), (State::Succeeded, 2));
}

/// What GitHub would refuse, and what is said of it.
type Case = (fn(&mut Sim), &'static str);

fn forbidden() -> [Case; 4] {
    [
        (
            |sim| sim.look(|state| state.hub.pull(1).merge_state = MergeState::Blocked),
            "the protection of main is not satisfied",
        ),
        (|sim| sim.look(|state| state.hub.pull(1).merge_state = MergeState::Behind), "the protection of main asks for"),
        (|sim| sim.look(|state| state.hub.merging.queue = true), "main has a merge queue"),
        (
            |sim| sim.look(|state| state.hub.merging.methods = vec![MergeMethod::Squash]),
            "merge_method of scm-bot's settings is merge, and o/r allows only squash",
        ),
    ]
}

#[test]
fn what_github_would_not_merge_does_not_go_live() {
    for (forbid, says) in forbidden() {
        for body in ["/ship", "/ship --force", "/deploy"] {
            let mut sim = world("policy: {force: {permission: write}}\n");
            if body == "/deploy" {
                sim.told(1, "author", "/build_run");
            }
            forbid(&mut sim);
            let refused = sim.told(1, "author", body);
            assert_eq!((refused.state, reason(&refused)), (State::Refused, Reason::NotMergeable), "{refused:#?}");
            assert!(message(&refused).contains(says), "{body}: {}", message(&refused));
            untouched(&sim);
            // Nothing is merged there.
            let built = sim.told(1, "author", "/build_run");
            let staged = sim.told(1, "author", "/staging_deploy");
            assert_eq!((built.state, staged.state), (State::Succeeded, State::Succeeded), "{says}");
        }
        let mut sim = world("");
        let refused = ship(&mut sim, "/ship", forbid);
        assert_eq!(reason(&refused), Reason::NotMergeable);
        assert!(message(&refused).contains(says), "{}", message(&refused));
        untouched(&sim);
        let said = sim.look(|state| state.hub.said().pop().unwrap());
        assert!(said.contains("Nothing that is live was touched."), "{said}");
    }
}

#[test]
fn a_plan_says_what_github_would_not_merge() {
    for (forbid, says) in forbidden() {
        let mut sim = world("");
        forbid(&mut sim);
        assert_eq!(sim.told(1, "author", "/plan").state, State::Succeeded);
        let said = sim.look(|state| state.hub.said().pop().unwrap()).replace('\\', "");
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn who_bypasses_the_protection_is_let_through() {
    let mut sim = Sim::asleep();
    sim.settings.github.bypasses_protection = true;
    sim.look(|state| state.hub.pull(1).merge_state = MergeState::Blocked);
    let shipped = sim.told(1, "author", "/ship");
    // GitHub lets the bot through, the simulated one does not; what counts is that it was asked.
    assert_eq!(reason(&shipped), Reason::MergeFailed, "{shipped:#?}");
    sim.look(|state| assert!(state.hub.calls.contains(&"merge")));
}

#[test]
fn what_github_does_not_know_yet_is_asked_again() {
    let mut sim = world("");
    sim.look(|state| state.hub.pull(1).merge_state = MergeState::Unknown);
    let refused = sim.told(1, "author", "/ship");
    assert_eq!(reason(&refused), Reason::NotMergeable);
    assert!(message(&refused).contains("has not found out yet"), "{}", message(&refused));
    let tries = sim.look(|state| state.hub.calls.iter().filter(|call| **call == "pull_request").count());
    assert_eq!(tries, 5);
}
