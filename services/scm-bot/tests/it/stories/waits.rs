//! Waiting for others, and its end.

use std::time::Duration;

use kfops_core::Reason;
use kfops_scm_bot::command::State;

use super::reason;
use crate::{repository::PROJECT, sim::Sim};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn waiting_counts_from_when_it_began() {
    let mut sim = Sim::new();
    let project = PROJECT.replace("  model: {task: train", "  timeout: 6h\n  model: {task: train")
        + "timeouts: {wait: 1h, rollout: 9h}\n";
    sim.look(|state| {
        state.hub.set_project(&project);
        state.hub.base = Some(project);
        state.jobs.held.insert("rollouts");
    });
    let first = sim.ask(2, "author", "/ship");
    sim.until(&first, |command| command.steps.iter().any(|step| step.title.starts_with("revision ")));
    // It trains for longer than it may wait.
    sim.look(|state| state.jobs.held.insert("runs"));
    let second = sim.ask(1, "author", "/ship");
    sim.until(&second, |command| command.steps.iter().any(|step| step.title == "task train"));
    sim.pass(120 * MINUTE);
    sim.look(|state| state.jobs.held.remove("runs"));
    let waits =
        |command: &kfops_scm_bot::command::Command| command.steps.iter().any(|step| step.message.contains("waits for"));
    sim.until(&second, waits);
    let began = sim.world.time.passed();
    sim.pass(30 * MINUTE);
    assert!(!sim.get(&second).state.ended(), "{:#?}", sim.get(&second));
    // Nor does a restart begin the wait anew.
    sim.restart();
    let second = sim.ended(&second);
    assert_eq!((second.state, reason(&second)), (State::Failed, Reason::DeadlineExceeded), "{second:#?}");
    let waited = sim.world.time.passed() - began;
    assert!(waited >= 59 * MINUTE && waited < 63 * MINUTE, "{waited:?}");
    assert!(!sim.get(&first).state.ended());
}

#[test]
fn waiting_for_ones_turn_ends_too() {
    let mut sim = Sim::new();
    let project =
        PROJECT.replace("  model: {task: train", "  timeout: 9h\n  model: {task: train") + "timeouts: {wait: 1h}\n";
    sim.look(|state| {
        state.hub.set_project(&project);
        state.hub.base = Some(project);
        state.jobs.held.insert("runs");
    });
    let first = sim.ask(1, "author", "/build_run");
    let second = sim.ask(1, "author", "/build");
    let began = sim.world.time.passed();
    let second = sim.ended(&second);
    assert_eq!((second.state, reason(&second)), (State::Failed, Reason::DeadlineExceeded), "{second:#?}");
    let waited = sim.world.time.passed() - began;
    assert!(waited >= 60 * MINUTE && waited < 63 * MINUTE, "{waited:?}");
    assert!(!sim.get(&first).state.ended());
}
