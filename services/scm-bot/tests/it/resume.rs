//! Stopped or killed at special moments: the outside world looks as if nothing had happened. Every other moment:
//! `matrix.rs`.

use kfops_scm_bot::{command::State, step::StepState};

use crate::sim::{Sim, gate::Fault};

/// What the outside world saw of a /ship that went well.
fn assert_once(sim: &Sim, when: &str) {
    sim.look(|state| {
        assert_eq!(state.jobs.kinds(), ["builds", "pipelineVersions", "runs", "rollouts"], "{when}");
        assert_eq!(state.hub.said().len(), 1, "{when}: comments");
        assert_eq!(state.hub.checks.len(), 1, "{when}: checks");
        assert_eq!(state.hub.checks[0].run.completed.unwrap().0, "success", "{when}");
        assert_eq!(state.hub.deployments.len(), 1, "{when}: deployments");
        assert_eq!(state.hub.pull(1).merges.len(), 1, "{when}: merges");
        assert_eq!(state.hub.bearers("Deployed-to-production"), [1], "{when}");
        assert!(state.hub.said()[0].contains("done in"), "{when}: {}", state.hub.said()[0]);
    });
}

#[test]
fn killed_while_a_worker_works_it_watches_on() {
    for collection in ["builds", "runs", "rollouts"] {
        let mut sim = Sim::new();
        sim.look(|state| state.jobs.held.insert(collection));
        let id = sim.ask(1, "author", "/ship");
        let running = |step: &kfops_scm_bot::step::Step| {
            step.state == StepState::Running && step.resource.starts_with(&format!("{collection}/"))
        };
        sim.until(&id, |command| command.steps.iter().any(running));
        sim.crash();
        sim.look(|state| state.jobs.held.clear());
        assert_eq!(sim.ended(&id).state, State::Succeeded, "{collection}");
        assert_once(&sim, collection);
    }
}

#[test]
fn stopped_in_order_it_goes_on_at_the_next_start() {
    let mut sim = Sim::new();
    sim.look(|state| state.jobs.held.insert("runs"));
    let id = sim.ask(1, "author", "/ship");
    sim.until(&id, |command| command.steps.iter().any(|step| step.title == "task train"));
    sim.restart();
    sim.look(|state| state.jobs.held.clear());
    assert_eq!(sim.ended(&id).state, State::Succeeded);
    assert_eq!(sim.lives, 2);
    assert_once(&sim, "stopped");
}

#[test]
fn an_answer_that_is_lost_repeats_nothing() {
    for lost in ["post", "merge", "move_label", "start", "tag"] {
        let mut sim = Sim::new();
        sim.world.gate().next.push((lost, Fault::Lost));
        let command = sim.told(1, "author", "/ship");
        assert_eq!(command.state, State::Succeeded, "{lost}: {command:#?}");
        assert_once(&sim, lost);
    }
}

#[test]
fn whoever_breaks_is_driven_again() {
    for call in ["look", "start", "merge"] {
        let mut sim = Sim::new();
        sim.world.gate().next.push((call, Fault::Panics));
        assert_eq!(sim.told(1, "author", "/ship").state, State::Succeeded, "{call}");
        assert_eq!(sim.lives, 1);
        assert_once(&sim, call);
    }
}
