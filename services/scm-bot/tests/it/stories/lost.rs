//! Webhooks that never arrived: GitHub sent them once and gave up.

use std::time::Duration;

use kfops_core::Reason;
use kfops_scm_bot::command::State;
use kfops_settings::HumanDuration;

use super::{PRODUCTION, reason};
use crate::sim::{Sim, gate::Fault, hub::Sent};

/// A bot that looks every minute for what it missed.
pub(super) fn attentive() -> Sim {
    let mut sim = Sim::asleep();
    sim.settings.recovery.every = HumanDuration::from_secs(60);
    sim.pass(Duration::from_secs(150));
    sim
}

/// Somebody writes a comment, and its webhook is lost.
pub(super) fn lost(sim: &Sim, body: &str) -> Sent {
    let now = sim.world.time.now();
    sim.look(|state| state.hub.comment(1, "author", body, now))
}

pub(super) fn only(sim: &mut Sim) -> String {
    assert!(sim.wait(|state| !state.book.commands.is_empty()), "forgotten\n{}", sim.story());
    sim.look(|state| state.book.ordered()[0].id.clone())
}

#[test]
fn a_lost_comment_is_found_and_counts_once() {
    let mut sim = attentive();
    let sent = lost(&sim, "/build");
    let begun = sim.world.time.passed();
    let id = only(&mut sim);
    assert!(sim.world.time.passed() - begun <= Duration::from_secs(61));
    assert_eq!(sim.ended(&id).state, State::Succeeded);
    // GitHub is asked to send it again by hand.
    assert!(sim.deliver(&sent).duplicate);
    assert_eq!(sim.look(|state| (state.book.commands.len(), state.jobs.of("builds").len())), (1, 1));
}

#[test]
fn what_was_written_while_nobody_lived_is_found() {
    let mut sim = attentive();
    sim.crash();
    lost(&sim, "/build");
    sim.world.time.skip(Duration::from_secs(600));
    let id = only(&mut sim);
    assert_eq!(sim.ended(&id).state, State::Succeeded);
    assert_eq!(sim.lives, 2);
}

#[test]
fn a_lost_comment_is_found_whatever_the_clock_says() {
    for skew in [1500, -7200] {
        let mut sim = attentive();
        sim.world.time.set_skew(skew);
        sim.pass(Duration::from_secs(300));
        lost(&sim, "/build");
        let id = only(&mut sim);
        assert_eq!(sim.ended(&id).state, State::Succeeded, "{skew}");
    }
    // It was ahead, and is right again.
    let mut sim = attentive();
    sim.world.time.set_skew(7200);
    sim.pass(Duration::from_secs(300));
    sim.world.time.set_skew(0);
    lost(&sim, "/build");
    let id = only(&mut sim);
    assert_eq!(sim.ended(&id).state, State::Succeeded);
}

#[test]
fn what_is_found_too_late_is_answered_and_not_done() {
    let mut sim = attentive();
    sim.crash();
    lost(&sim, "/ship");
    sim.world.time.skip(Duration::from_secs(3600));
    let id = only(&mut sim);
    let late = sim.ended(&id);
    assert_eq!((late.state, reason(&late)), (State::Refused, Reason::PolicyRefused), "{late:#?}");
    let said = sim.look(|state| state.hub.said().pop().unwrap());
    assert!(said.contains("late, and things may have changed since"), "{said}");
    assert!(sim.look(|state| state.jobs.begun.is_empty()));
}

#[test]
fn a_lost_push_supersedes_what_has_not_begun() {
    let mut sim = attentive();
    sim.look(|state| state.jobs.held.insert("runs"));
    let under_way = sim.ask(1, "author", "/build_run");
    let waits = sim.ask(1, "author", "/build");
    sim.until(&waits, |command| command.pull.is_some());
    let now = sim.world.time.now();
    sim.look(|state| state.hub.push(1, &"a".repeat(40), now));
    assert_eq!(sim.ended(&waits).state, State::Superseded);
    assert!(!sim.get(&under_way).state.ended());
}

/// The first was stored, and nobody heard of it; the second overtook it and holds the lock when everybody dies.
#[test]
fn who_was_overtaken_does_not_wait_for_who_waits_for_it() {
    let mut sim = Sim::new();
    sim.told(1, "author", "/build_run");
    sim.look(|state| {
        state.jobs.live_from_the_beginning(PRODUCTION, "iris-00001");
        state.jobs.held.insert("rollouts");
    });
    sim.world.gate().next.push(("accept", Fault::Lost));
    let overtaken = sim.ask(1, "author", "/deploy --canary 5");
    let second = sim.ask(1, "author", "/deploy");
    sim.until(&second, |command| command.steps.iter().any(|step| step.title == "canary 10 %"));
    assert!(!sim.get(&overtaken).begun());
    sim.crash();
    sim.look(|state| state.jobs.held.clear());
    let begun = sim.world.time.passed();
    assert_eq!(sim.ended(&second).state, State::Succeeded);
    assert_eq!(reason(&sim.ended(&overtaken)), Reason::PullRequestClosed);
    assert!(sim.world.time.passed() - begun < Duration::from_secs(120));
}
