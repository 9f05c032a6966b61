//! What is live by now: for a retry that finds its rollout done, and for one rollback after another.

use kfops_core::Reason;
use kfops_scm_bot::command::{Command, State};

use super::{PRODUCTION, STAGING, message, reason};
use crate::sim::Sim;

/// #1 and #2 are deployed: iris-00001, iris-00002.
fn two_deployed() -> Sim {
    let mut sim = Sim::new();
    assert_eq!(sim.told(1, "author", "/ship").lineage.revision, "iris-00001");
    assert_eq!(sim.told(2, "boss", "/ship --force").lineage.revision, "iris-00002");
    sim
}

/// Live, but not merged.
fn unmerged(sim: &mut Sim, pull: u64, body: &str) -> Command {
    sim.look(|state| state.hub.merge_refusal = Some("405 a check is missing".into()));
    let command = sim.told(pull, "boss", body);
    assert_eq!(reason(&command), Reason::MergeFailed, "{command:#?}");
    command
}

fn live(sim: &Sim, target: &str) -> String {
    sim.look(|state| state.jobs.services[target].live.clone().unwrap())
}

#[test]
fn a_retry_does_not_merge_what_is_no_longer_live() {
    let mut sim = two_deployed();
    sim.told(3, "boss", "/build_run");
    let deploy = unmerged(&mut sim, 3, "/deploy --force");
    assert_eq!(sim.told(3, "boss", "/rollback").state, State::Succeeded);
    assert_eq!(live(&sim, PRODUCTION), "iris-00004");
    let retried = sim.press(&deploy.id, "retry", "boss").unwrap();
    let retried = sim.ended(&retried);
    assert_eq!((retried.state, reason(&retried)), (State::Refused, Reason::PolicyRefused), "{retried:#?}");
    assert_eq!(
        message(&retried),
        "iris-00004 is live by now, and no longer iris-00003, whose deployment this would end"
    );
    sim.look(|state| {
        assert!(!state.hub.pull(3).merged);
        assert_eq!(state.hub.bearers("Deployed-to-production"), [2], "the rollback's label stays");
        let of_retry = state.hub.deployments.iter().filter(|record| record.deployment.command == retried.id);
        assert_eq!(of_retry.count(), 0, "nothing was deployed by it");
        let said = state.hub.said().pop().unwrap();
        assert!(said.contains("/deploy again") && !said.contains("**is live**"), "{said}");
    });
    // The way out works: the same run again, as a deployment of its own.
    let again = sim.told(3, "boss", "/deploy --force");
    assert_eq!((again.state, again.lineage.revision.as_str()), (State::Succeeded, "iris-00005"));
}

#[test]
fn a_retry_that_waits_for_the_lock_looks_at_what_is_live_then() {
    let mut sim = two_deployed();
    sim.told(3, "boss", "/build_run");
    sim.told(4, "boss", "/build_run");
    let deploy = unmerged(&mut sim, 3, "/deploy --force");
    sim.look(|state| state.jobs.held.insert("rollouts"));
    let other = sim.ask(4, "boss", "/deploy --force");
    assert!(sim.wait(|state| state.jobs.services[PRODUCTION].canary.is_some()));
    let retried = sim.ask(3, "boss", &format!("/retry {}", deploy.id));
    sim.until(&retried, |command| command.steps.iter().any(|step| step.message.contains("waits for")));
    sim.look(|state| state.jobs.held.clear());
    assert_eq!(sim.ended(&other).state, State::Succeeded);
    let retried = sim.ended(&retried);
    assert_eq!(reason(&retried), Reason::PolicyRefused, "{retried:#?}");
    assert!(message(&retried).contains("iris-00004 is live by now"), "{}", message(&retried));
}

#[test]
fn a_retry_of_what_is_live_still_ends_it() {
    let mut sim = two_deployed();
    sim.told(3, "boss", "/build_run");
    let deploy = unmerged(&mut sim, 3, "/deploy --force");
    // Another run of the same commit is not what went live.
    assert_eq!(sim.told(3, "boss", "/build_run --set max_depth=9").state, State::Succeeded);
    let retried = sim.told(3, "boss", &format!("/retry {}", deploy.id));
    assert_eq!(retried.state, State::Succeeded, "{retried:#?}");
    assert_eq!((&retried.lineage.run, &retried.lineage.model), (&deploy.lineage.run, &deploy.lineage.model));
    sim.look(|state| {
        assert!(state.hub.pull(3).merged);
        assert_eq!(state.hub.bearers("Deployed-to-production"), [3]);
        assert_eq!(state.jobs.of("rollouts").len(), 3, "nothing was rolled out again");
    });
}

/// A command whose label cannot be moved, for good: GitHub is away for longer than patience lasts.
fn unlabelled(sim: &mut Sim, pull: u64, body: &str) -> Command {
    use crate::sim::gate::{Port, Weather};
    let id = sim.ask(pull, "boss", body);
    assert!(sim.wait(|state| state.jobs.of("rollouts").last().is_some_and(|job| job.is_open())));
    let now = sim.world.time.passed();
    let away = now + std::time::Duration::from_secs(3600);
    sim.world.gate().weather = Some(Weather {
        rng: crate::sim::rng::Rng::new(1),
        refused: 0,
        lost: 0,
        hangs: 0,
        ledger: 6,
        away: vec![(Port::GitHub, now, away)],
        until: away,
    });
    let command = sim.ended(&id);
    assert_eq!(command.state, State::Failed, "{command:#?}");
    let passed = sim.world.time.passed();
    sim.pass(away.saturating_sub(passed));
    sim.world.gate().weather = None;
    command
}

#[test]
fn the_same_holds_in_staging() {
    let mut sim = Sim::new();
    sim.told(1, "boss", "/build_run");
    sim.told(2, "boss", "/build_run");
    let failed = unlabelled(&mut sim, 1, "/staging_deploy");
    let retried = sim.told(1, "boss", &format!("/retry {}", failed.id));
    assert_eq!(retried.state, State::Succeeded, "{retried:#?}");
    let failed = unlabelled(&mut sim, 1, "/staging_deploy");
    assert_eq!(sim.told(2, "boss", "/staging_deploy").state, State::Succeeded);
    let retried = sim.told(1, "boss", &format!("/retry {}", failed.id));
    assert_eq!(reason(&retried), Reason::PolicyRefused, "{retried:#?}");
    assert!(retried.failure.unwrap().action.contains("/staging_deploy again"));
    assert_eq!(live(&sim, STAGING), "iris-00003");
    assert_eq!(sim.look(|state| state.hub.bearers("Deployed-to-staging")), [2]);
}

#[test]
fn a_retry_of_a_rollback_moves_its_label() {
    let mut sim = two_deployed();
    let failed = unlabelled(&mut sim, 2, "/rollback");
    assert_eq!(sim.look(|state| state.hub.bearers("Deployed-to-production")), [2]);
    let retried = sim.told(2, "boss", &format!("/retry {}", failed.id));
    assert_eq!(retried.state, State::Succeeded, "{retried:#?}");
    assert_eq!(sim.look(|state| state.hub.bearers("Deployed-to-production")), [1]);
    assert_eq!(live(&sim, PRODUCTION), "iris-00003");
}

#[test]
fn a_second_rollback_goes_further_back() {
    let mut sim = two_deployed();
    let third = sim.told(3, "boss", "/ship --force");
    assert_eq!(third.lineage.revision, "iris-00003");
    let brought = |command: &Command| command.lineage.restored.as_ref().map(|restored| restored.revision.clone());
    let first = sim.told(3, "boss", "/rollback");
    assert_eq!((first.state, brought(&first).as_deref()), (State::Succeeded, Some("iris-00002")), "{first:#?}");
    let second = sim.told(3, "boss", "/rollback");
    assert_eq!((second.state, brought(&second).as_deref()), (State::Succeeded, Some("iris-00001")), "{second:#?}");
    let none = sim.told(3, "boss", "/rollback");
    assert_eq!((none.state, reason(&none)), (State::Refused, Reason::NotFound), "{none:#?}");
    assert!(none.failure.as_ref().unwrap().action.contains("/rollback --to REVISION"), "{none:#?}");
    assert_eq!(live(&sim, PRODUCTION), "iris-00005");
    // By name any comes back.
    let named = sim.told(3, "boss", "/rollback --to iris-00003");
    assert_eq!((named.state, named.lineage.model), (State::Succeeded, third.lineage.model));
}

#[test]
fn two_revisions_are_not_swapped_for_ever() {
    let mut sim = two_deployed();
    assert_eq!(sim.told(2, "boss", "/rollback").state, State::Succeeded);
    let again = sim.told(2, "boss", "/rollback");
    assert_eq!((again.state, reason(&again)), (State::Refused, Reason::NotFound), "{again:#?}");
    // What is deployed on top of it is undone to it, not to what it replaced.
    assert_eq!(sim.told(3, "boss", "/ship --force").lineage.revision, "iris-00004");
    let back = sim.told(3, "boss", "/rollback");
    assert_eq!(back.lineage.restored.unwrap().revision, "iris-00003");
    let none = sim.told(3, "boss", "/rollback");
    assert_eq!(reason(&none), Reason::NotFound, "{none:#?}");
}

#[test]
fn what_was_skipped_by_name_is_not_fallen_back_to() {
    let mut sim = two_deployed();
    sim.told(3, "boss", "/ship --force");
    // iris-00002 was passed over, though nobody replaced it by a rollback.
    assert_eq!(sim.told(3, "boss", "/rollback --to iris-00001").lineage.revision, "iris-00004");
    let none = sim.told(3, "boss", "/rollback");
    assert_eq!(reason(&none), Reason::NotFound, "{none:#?}");
    assert_eq!(live(&sim, PRODUCTION), "iris-00004");
}

#[test]
fn a_bad_serving_template_is_undone_though_the_model_stays_the_same() {
    let mut sim = two_deployed();
    sim.told(3, "boss", "/build_run");
    unmerged(&mut sim, 3, "/deploy --force");
    unmerged(&mut sim, 3, "/deploy --force");
    sim.look(|state| state.hub.merge_refusal = None);
    assert_eq!(live(&sim, PRODUCTION), "iris-00004");
    sim.look(|state| state.jobs.templates.insert("iris-00004".into(), "  minReplicas: 0\n".into()));
    let brought = |command: &Command| command.lineage.restored.as_ref().map(|restored| restored.revision.clone());
    let back = sim.told(3, "boss", "/rollback");
    assert_eq!((back.state, brought(&back).as_deref()), (State::Succeeded, Some("iris-00003")), "{back:#?}");
    assert_eq!(live(&sim, PRODUCTION), "iris-00005");
    // What is served the same way would change nothing: it is passed over.
    let again = sim.told(3, "boss", "/deploy --force");
    assert_eq!(again.lineage.revision, "iris-00006");
    let back = sim.told(3, "boss", "/rollback");
    assert_eq!((back.state, brought(&back).as_deref()), (State::Succeeded, Some("iris-00002")), "{back:#?}");
}

#[test]
fn what_is_live_and_does_not_answer_is_not_called_good() {
    let mut sim = two_deployed();
    let why = sim.told(2, "boss", "/why").answer;
    assert!(why.contains("✓") && !why.contains("does not answer"), "{why}");
    let cause = "its model server cannot be started: there is no model at file:///models/r-1";
    sim.look(|state| state.jobs.services.get_mut(PRODUCTION).unwrap().unanswered = cause.into());
    let why = sim.told(2, "boss", "/why").answer;
    assert!(why.contains("iris-00002 gets 100 % of the traffic, but does not answer: its model server"), "{why}");
    assert!(why.contains("predictions fail") && !why.contains("every link holds"), "{why}");
    let status = sim.told(2, "boss", "/status").answer;
    assert!(status.contains("Live in production, **but does not answer** (its model server cannot be"), "{status}");
}
