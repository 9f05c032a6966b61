//! What is ended, taken up again, brought back and taken away.

use kfops_core::{Failure, Reason};
use kfops_scm_bot::{
    command::{Command, State},
    ports::DeploymentState,
    step::{Stage, StepState},
};

use super::{PRODUCTION, message, reason};
use crate::sim::{Sim, hub::HEAD};

const OTHER: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn live(sim: &Sim) -> String {
    sim.look(|state| state.jobs.services[PRODUCTION].live.clone().unwrap())
}

fn last_said(sim: &Sim) -> String {
    sim.look(|state| state.hub.said().pop().unwrap())
}

fn refused(command: &Command, why: Reason) {
    assert_eq!((command.state, reason(command)), (State::Refused, why), "{command:#?}");
}

/// `/deploy` of a run, held at its first canary step.
fn canary(sim: &mut Sim, pull: u64) -> String {
    sim.told(pull, "author", "/build_run");
    sim.look(|state| state.jobs.held.insert("rollouts"));
    let id = sim.ask(pull, "author", "/deploy");
    sim.until(&id, |command| command.steps.iter().any(|step| step.title == "canary 10 %"));
    id
}

fn with_live() -> Sim {
    let sim = Sim::new();
    sim.look(|state| state.jobs.live_from_the_beginning(PRODUCTION, "iris-00001"));
    sim
}

#[test]
fn promote_ends_the_canary() {
    let mut sim = with_live();
    refused(&sim.told(1, "author", "/promote"), Reason::NotFound);
    let deploy = canary(&mut sim, 1);
    refused(&sim.told(1, "stranger", "/promote"), Reason::PermissionDenied);
    // A deployment of another pull request is none of one's business.
    refused(&sim.told(2, "author", "/promote"), Reason::NotFound);
    assert_eq!(live(&sim), "iris-00001");
    let promote = sim.told(1, "mate", "/promote");
    assert_eq!((promote.state, &promote.acts_on), (State::Succeeded, &vec![deploy.clone()]), "{promote:#?}");
    assert!(promote.answer.contains("its new model gets all traffic now"), "{}", promote.answer);
    let deployed = sim.ended(&deploy);
    assert_eq!((deployed.state, live(&sim).as_str()), (State::Succeeded, "iris-00002"));
    assert!(!deployed.steps.iter().any(|step| step.title == "canary 50 %"));
    assert!(sim.look(|state| state.hub.pull(1).merged));
}

#[test]
fn rollback_brings_back_what_was_live_before() {
    let mut sim = Sim::new();
    refused(&sim.told(1, "author", "/rollback"), Reason::NotFound);
    let first = sim.told(1, "author", "/ship");
    refused(&sim.told(2, "author", "/rollback"), Reason::NotFound);
    let second = sim.told(2, "boss", "/ship --force");
    assert_ne!(first.lineage.model, second.lineage.model);
    refused(&sim.told(2, "stranger", "/rollback"), Reason::PermissionDenied);
    let unknown = sim.told(2, "author", "/rollback --to iris-00009");
    refused(&unknown, Reason::NotFound);
    let action = &unknown.failure.as_ref().unwrap().action;
    assert_eq!(action, "name one that was, the last first: iris-00001");
    refused(&sim.told(2, "author", "/rollback --to iris-00002"), Reason::AlreadyExists);
    let begun = sim.look(|state| state.jobs.begun.len());
    // From whatever pull request: it is about production.
    let back = sim.told(3, "mate", "/rollback");
    assert_eq!((back.state, back.lineage.revision.as_str()), (State::Succeeded, "iris-00003"), "{back:#?}");
    assert_eq!((&back.lineage.model, &back.lineage.run), (&first.lineage.model, &first.lineage.run));
    sim.look(|state| {
        assert_eq!(state.jobs.begun.len(), begun + 1, "nothing is built or run");
        assert_eq!(state.hub.bearers("Deployed-to-production"), [1]);
        assert!(!state.hub.pull(3).merged && state.hub.pull(1).merges.len() == 1);
        let said = state.hub.said().pop().unwrap();
        assert!(said.contains("The default branch still holds the change of #2, merged as `"), "{said}");
        let record = state.hub.deployments.last().unwrap();
        assert_eq!((record.deployment.commit.as_str(), record.deployment.state), (HEAD, DeploymentState::Success));
    });
    // And forth again.
    let forth = sim.told(3, "mate", "/rollback --to iris-00002");
    assert_eq!((forth.state, &forth.lineage.model), (State::Succeeded, &second.lineage.model), "{forth:#?}");
    assert_eq!(sim.look(|state| state.hub.bearers("Deployed-to-production")), [2]);
}

#[test]
fn a_rollback_that_waited_does_not_undo_something_else() {
    let mut sim = Sim::new();
    sim.told(1, "author", "/ship");
    sim.look(|state| state.hub.pull(2).behind = 0);
    sim.told(2, "author", "/ship");
    sim.look(|state| state.hub.pull(3).behind = 0);
    let deploy = canary(&mut sim, 3);
    let back = sim.ask(4, "mate", "/rollback");
    sim.until(&back, |command| command.steps.iter().any(|step| step.message.contains("waits for")));
    sim.look(|state| state.jobs.held.clear());
    assert_eq!(sim.ended(&deploy).state, State::Succeeded);
    let back = sim.ended(&back);
    assert_eq!(reason(&back), Reason::PolicyRefused, "{back:#?}");
    assert!(message(&back).contains("iris-00003 went live while this waited"), "{back:#?}");
    assert_eq!(live(&sim), "iris-00003");
}

#[test]
fn retry_does_the_rest() {
    let mut sim = with_live();
    refused(&sim.told(1, "author", "/retry"), Reason::NotFound);
    for (collection, begun) in [("runs", [1, 1, 2, 0]), ("rollouts", [1, 1, 2, 2])] {
        sim.look(|state| state.jobs.fail_next(collection, Failure::new(Reason::TaskFailed, "it broke")));
        let what = if collection == "runs" { "/build_run" } else { "/deploy" };
        let failed = sim.told(1, "author", what);
        assert_eq!(failed.state, State::Failed);
        if collection == "runs" {
            refused(&sim.told(1, "stranger", "/retry"), Reason::PermissionDenied);
            refused(&sim.told(2, "author", &format!("/retry {}", failed.id)), Reason::NotFound);
        }
        let retried = sim.told(1, "mate", "/retry");
        assert_eq!((retried.state, retried.verb, &retried.retry_of), (State::Succeeded, failed.verb, &Some(failed.id)));
        let count = |collection| sim.look(|state| state.jobs.of(collection).len());
        assert_eq!(["builds", "pipelineVersions", "runs", "rollouts"].map(count), begun);
    }
    assert!(sim.look(|state| state.hub.pull(1).merged));
    refused(&sim.told(1, "author", "/retry"), Reason::NotFound);
    assert!(last_said(&sim).contains("succeeded"), "{}", last_said(&sim));
}

#[test]
fn a_retry_is_about_the_commit_it_was_about() {
    let mut sim = Sim::new();
    sim.look(|state| state.jobs.fail_next("runs", Failure::new(Reason::TaskFailed, "it broke")));
    sim.told(1, "author", "/build_run");
    sim.push(1, OTHER);
    refused(&sim.told(1, "author", "/retry"), Reason::RunOfOtherCommit);
    assert!(last_said(&sim).contains("the head is aaaaaaa now"), "{}", last_said(&sim));
}

#[test]
fn unlock_takes_the_lock_and_ends_who_held_it() {
    let mut sim = with_live();
    refused(&sim.told(1, "boss", "/unlock"), Reason::NotFound);
    sim.told(2, "author", "/build_run");
    let first = canary(&mut sim, 1);
    let second = sim.ask(2, "author", "/deploy");
    sim.until(&second, |command| command.steps.iter().any(|step| step.message.contains("waits for")));
    refused(&sim.told(2, "author", "/unlock"), Reason::PermissionDenied);
    refused(&sim.told(2, "boss", "/unlock staging"), Reason::NotFound);
    let unlock = sim.told(2, "boss", "/unlock");
    assert_eq!((unlock.state, &unlock.acts_on), (State::Succeeded, &vec![first.clone()]));
    assert!(unlock.answer.contains("was taken from /deploy"), "{}", unlock.answer);
    let first = sim.ended(&first);
    assert_eq!((first.state, first.fence), (State::Canceled, 1));
    assert!(message(&first).contains("@boss wrote /unlock"), "{first:#?}");
    sim.until(&second, |command| command.progress(Stage::Rollout) == StepState::Running);
    sim.look(|state| state.jobs.held.clear());
    let second = sim.ended(&second);
    assert_eq!((second.state, second.fence), (State::Succeeded, 2), "{second:#?}");
    sim.look(|state| {
        assert_eq!(state.hub.bearers("Deployed-to-production"), [2]);
        assert!(!state.hub.pull(1).merged && state.jobs.services[PRODUCTION].lived.len() == 2);
    });
}

#[test]
fn cancel_ends_one_or_all_of_a_pull_request() {
    let mut sim = Sim::new();
    refused(&sim.told(1, "author", "/cancel"), Reason::NotFound);
    sim.look(|state| state.jobs.held.insert("builds"));
    let ids = sim.comment(1, "author", "/build\n/run\n/build_run");
    let elsewhere = sim.ask(2, "author", "/build");
    sim.until(&ids[0], |command| command.begun());
    refused(&sim.told(1, "stranger", "/cancel"), Reason::PermissionDenied);
    refused(&sim.told(2, "author", &format!("/cancel {}", ids[1])), Reason::NotFound);
    let one = sim.told(1, "mate", &format!("/cancel {}", ids[1]));
    assert_eq!((one.state, sim.get(&ids[1]).state), (State::Succeeded, State::Canceled));
    assert!(!sim.get(&ids[0]).cancel && !sim.get(&ids[2]).cancel);
    assert_eq!(sim.told(1, "mate", "/cancel").acts_on.len(), 2);
    for id in [&ids[0], &ids[2]] {
        let command = sim.ended(id);
        assert_eq!(command.state, State::Canceled);
        assert!(message(&command).contains("@mate wrote /cancel"), "{command:#?}");
    }
    assert!(!sim.get(&elsewhere).cancel);
    assert_eq!(sim.look(|state| state.jobs.begun.len()), 2);
}

#[test]
fn a_push_supersedes_what_has_not_begun() {
    let mut sim = Sim::new();
    sim.look(|state| state.jobs.held.insert("runs"));
    let under_way = sim.ask(1, "author", "/build_run");
    sim.until(&under_way, |command| command.progress(Stage::Run) == StepState::Running);
    let waits = sim.ask(1, "author", "/build");
    let other = sim.ask(2, "author", "/build");
    sim.until(&waits, |command| command.pull.is_some());
    sim.push(1, OTHER);
    let superseded = sim.ended(&waits);
    assert_eq!((superseded.state, reason(&superseded)), (State::Superseded, Reason::Superseded));
    let said = last_said(&sim);
    assert!(said.contains("a commit was pushed after this comment.\n\nWrite /build again to mean aaaaaaa."), "{said}");
    sim.look(|state| state.jobs.held.clear());
    let under_way = sim.ended(&under_way);
    assert_eq!((under_way.state, under_way.commit()), (State::Succeeded, HEAD));
    assert_eq!(sim.ended(&other).state, State::Succeeded);
    // What is written afterwards is about the new head, and is not deployed with the old run.
    assert_eq!(reason(&sim.told(1, "author", "/deploy")), Reason::RunOfOtherCommit);
    assert_eq!(sim.told(1, "author", "/build").commit(), OTHER);
}

#[test]
fn buttons_do_what_comments_do() {
    let mut sim = Sim::new();
    sim.look(|state| state.jobs.held.insert("runs"));
    let build = sim.ask(1, "author", "/build_run");
    sim.until(&build, |command| command.progress(Stage::Run) == StepState::Running && command.posted.check.is_some());
    let pressed = sim.press(&build, "cancel", "stranger").unwrap();
    refused(&sim.ended(&pressed), Reason::PermissionDenied);
    assert!(!sim.get(&build).cancel);
    assert_eq!(sim.press(&build, "explode", "author"), None);
    let pressed = sim.press(&build, "cancel", "mate").unwrap();
    assert_eq!(sim.ended(&pressed).state, State::Succeeded);
    let canceled = sim.ended(&build);
    assert_eq!(canceled.state, State::Canceled);
    assert!(message(&canceled).contains("@mate"), "{canceled:#?}");
    sim.look(|state| {
        assert_eq!(state.hub.checks[0].run.completed.unwrap().0, "cancelled");
        state.jobs.held.clear();
    });
    let again = sim.press(&build, "retry", "mate").unwrap();
    let again = sim.ended(&again);
    assert_eq!((again.state, &again.retry_of, again.actor.as_str()), (State::Succeeded, &Some(build.clone()), "mate"));
    assert_eq!(sim.look(|state| (state.jobs.of("builds").len(), state.jobs.of("runs").len())), (1, 2));
    // Twice is once more, of what was not done; all of it was.
    let twice = sim.press(&build, "retry", "author").unwrap();
    sim.ended(&twice);
    assert_eq!(sim.look(|state| state.jobs.of("builds").len()), 1);
}
