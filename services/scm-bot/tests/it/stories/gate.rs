//! Who may, which commit, which target, and what is answered.

use kfops_core::Reason;
use kfops_scm_bot::command::State;

use super::{PRODUCTION, message, reason};
use crate::{repository::PROJECT, sim::Sim};

#[test]
fn the_gate_refuses_with_a_reason() {
    let mut sim = Sim::new();
    assert_eq!(reason(&sim.told(1, "stranger", "/build")), Reason::PermissionDenied);
    assert_eq!(reason(&sim.told(1, "nobody", "/build")), Reason::PermissionDenied);
    sim.look(|state| state.hub.pull(1).behind = 2);
    let behind = sim.told(1, "author", "/ship");
    assert_eq!((behind.state, reason(&behind)), (State::Refused, Reason::BehindBase));
    let said = sim.look(|state| state.hub.said().pop().unwrap());
    assert!(said.contains("the branch is 2 commits behind main."), "{said}");
    assert!(said.contains("/ship --force (who may: maintain permission and above)"), "{said}");
    assert_eq!(reason(&sim.told(1, "author", "/ship --force")), Reason::PermissionDenied);
    assert!(sim.look(|state| state.jobs.begun.is_empty()));
    assert_eq!(sim.told(1, "boss", "/ship --force").state, State::Succeeded);
    sim.look(|state| state.hub.pull(2).mergeable = Some(false));
    assert_eq!(reason(&sim.told(2, "author", "/ship --force")), Reason::PermissionDenied);
    sim.look(|state| state.hub.pull(2).behind = 0);
    assert_eq!(reason(&sim.told(2, "author", "/ship")), Reason::NotMergeable);
    sim.look(|state| {
        let pull = state.hub.pull(2);
        (pull.mergeable, pull.draft) = (Some(true), true);
    });
    assert_eq!(reason(&sim.told(2, "author", "/ship")), Reason::NotMergeable);
}

#[test]
fn strangers_get_no_check_run() {
    let mut sim = Sim::new();
    sim.told(1, "stranger", "/build");
    sim.look(|state| {
        assert!(state.hub.checks.is_empty() && state.jobs.begun.is_empty());
        assert_eq!(state.hub.said().len(), 1);
    });
}

#[test]
fn a_run_of_another_commit_is_not_deployed() {
    let mut sim = Sim::new();
    sim.told(1, "author", "/build_run");
    sim.push(1, &"a".repeat(40));
    let refused = sim.told(1, "author", "/deploy");
    assert_eq!(reason(&refused), Reason::RunOfOtherCommit);
    assert_eq!(reason(&sim.told(1, "author", "/deploy --run-id=r-none")), Reason::NoRun);
}

#[test]
fn the_policy_of_the_base_branch_counts() {
    let mut sim = Sim::new();
    // The pull request grants itself what the base does not.
    sim.look(|state| state.hub.base = Some(PROJECT.to_owned() + "policy:\n  build: {users: [boss]}\n"));
    let refused = sim.told(1, "author", "/build");
    assert_eq!(reason(&refused), Reason::PolicyRefused);
    assert!(message(&refused).contains("policy.build lets only boss do this"));
    // Where `kfops/build` is required, GitHub would let a `neutral` one pass.
    sim.look(|state| assert!(state.hub.checks.is_empty(), "a refusal says nothing of the commit"));
    assert_eq!(sim.told(1, "boss", "/build").state, State::Succeeded);
}

#[test]
fn a_broken_project_is_told_with_its_place() {
    let mut sim = Sim::new();
    sim.look(|state| state.hub.set_project(&PROJECT.replace("name: iris\n  source", "nam: iris\n  source")));
    let command = sim.told(1, "author", "/build");
    assert_eq!(reason(&command), Reason::ConfigInvalid);
    assert!(message(&command).contains("kfops.yaml:"), "{command:#?}");
}

#[test]
fn a_base_that_cannot_be_read_refuses_all_but_looking_and_ending() {
    let mut sim = Sim::new();
    sim.look(|state| {
        state.hub.base = Some("nonsense: [".into());
        state.jobs.held.insert("builds");
    });
    let refused = sim.told(1, "author", "/build");
    assert_eq!((refused.state, reason(&refused)), (State::Refused, Reason::ConfigInvalid));
    assert_eq!(sim.told(1, "author", "/status").state, State::Succeeded);
    sim.look(|state| state.hub.base = Some(PROJECT.into()));
    let build = sim.ask(1, "author", "/build");
    sim.until(&build, |command| command.begun());
    sim.look(|state| state.hub.base = Some("nonsense: [".into()));
    assert_eq!(sim.told(1, "author", "/cancel").state, State::Succeeded);
    assert_eq!(sim.ended(&build).state, State::Canceled);
}

#[test]
fn status_and_help_and_typos_are_answered() {
    let mut sim = Sim::new();
    sim.told(1, "author", "/build");
    sim.look(|state| state.jobs.live_from_the_beginning(PRODUCTION, "iris-00003"));
    let status = sim.told(1, "stranger", "/status");
    assert_eq!(status.state, State::Succeeded, "{status:#?}");
    let said = sim.look(|state| state.hub.said().pop().unwrap());
    assert!(said.contains("| /build `c-") && said.contains("Live in production: `iris-00003`"), "{said}");
    assert!(said.contains("Nothing is live in staging."), "{said}");
    let help = sim.told(1, "stranger", "/help");
    assert_eq!((help.state, help.github_calls), (State::Succeeded, 2));
    let typo = sim.told(1, "author", "/biuld_run");
    assert_eq!((typo.state, reason(&typo)), (State::Refused, Reason::InvalidArgument));
    let said = sim.look(|state| state.hub.said().pop().unwrap());
    assert!(said.contains("Did you mean /build\\_run?"), "{said}");
    assert_eq!(sim.told(1, "author", "/deploy now").state, State::Refused);
    assert!(sim.comment(1, "author", "please do not /deploy yet").is_empty());
    assert!(sim.comment(1, "kfops[bot]", "/deploy").is_empty());
}

#[test]
fn a_pull_request_does_not_choose_its_own_target() {
    let mut sim = Sim::new();
    let moved = PROJECT.replace("{namespace: team-iris-staging}", "{namespace: iris}");
    sim.look(|state| state.hub.set_project(&moved));
    sim.told(1, "author", "/build_run");
    let refused = sim.told(1, "author", "/staging_deploy");
    assert_eq!((refused.state, reason(&refused)), (State::Refused, Reason::PolicyRefused), "{refused:#?}");
    let said = sim.look(|state| state.hub.said().pop().unwrap());
    assert!(
        said.contains("environments.staging.namespace is iris in this pull request, and team-iris-staging in main")
    );
    // Nor the first one, where nobody has said yet what is whose.
    sim.look(|state| state.hub.base = None);
    let refused = sim.told(1, "author", "/staging_deploy");
    assert_eq!((refused.state, reason(&refused)), (State::Refused, Reason::PolicyRefused), "{refused:#?}");
    assert!(sim.look(|state| state.jobs.of("rollouts").is_empty()));
    // Once it is merged it counts at once.
    sim.look(|state| state.hub.base = Some(moved));
    assert_eq!(sim.told(1, "author", "/staging_deploy").state, State::Succeeded);
}

#[test]
fn what_was_closed_during_a_ship_does_not_go_live() {
    let mut sim = Sim::new();
    sim.look(|state| state.jobs.held.insert("runs"));
    let id = sim.ask(1, "author", "/ship");
    sim.until(&id, |command| command.steps.iter().any(|step| step.title == "task train"));
    sim.look(|state| {
        state.hub.pull(1).open = false;
        state.jobs.held.clear();
    });
    let command = sim.ended(&id);
    assert_eq!((command.state, reason(&command)), (State::Failed, Reason::PullRequestClosed), "{command:#?}");
    assert!(sim.look(|state| state.jobs.of("rollouts").is_empty()));
}

#[test]
fn commands_that_are_too_many_are_answered() {
    let mut sim = Sim::new();
    let ids = sim.comment(1, "author", &"/help\n".repeat(13));
    assert_eq!(ids.len(), 11);
    for id in &ids {
        sim.ended(id);
    }
    let command = sim.get(&ids[10]);
    assert_eq!((command.state, reason(&command)), (State::Refused, Reason::InvalidArgument));
    let said = sim.look(|state| state.hub.said());
    let answers =
        said.iter().filter(|body| body.contains("this comment has 13 commands") && body.contains("at most 10"));
    assert_eq!(answers.count(), 1, "{said:#?}");
}

#[test]
fn strangers_are_answered_once_a_comment_and_not_for_ever() {
    let mut sim = Sim::asleep();
    sim.settings.github.answers_per_hour = 3;
    let ended = |sim: &mut Sim, user: &str, body: &str| {
        let before = sim.look(|state| (state.hub.said().len(), state.hub.calls.len()));
        for id in sim.comment(1, user, body) {
            assert!(sim.ended(&id).posted.finished);
        }
        let after = sim.look(|state| (state.hub.said().len(), state.hub.calls.len()));
        (after.0 - before.0, after.1 - before.1)
    };
    // A comment of typos costs one look at who it is.
    assert_eq!(ended(&mut sim, "stranger", &"/biuld\n".repeat(13)), (0, 1));
    assert_eq!(ended(&mut sim, "stranger", "/biuld\n/help\n/help\n/status").0, 1);
    let said = sim.look(|state| state.hub.said().pop().unwrap());
    assert!(said.contains("| `/ship "), "the first that can be read: {said}");
    assert_eq!(ended(&mut sim, "stranger", "/build\n/deploy\n/ship").0, 1);
    assert_eq!(ended(&mut sim, "stranger", "/help").0, 1);
    assert_eq!(ended(&mut sim, "stranger", "/help").0, 0);
    // Those who may write are answered whatever they write.
    assert_eq!(ended(&mut sim, "author", "/biuld\n/help\n/deploy now").0, 3);
    sim.pass(std::time::Duration::from_secs(3600));
    assert_eq!(ended(&mut sim, "stranger", "/help").0, 1);
}

#[test]
fn strangers_are_not_told_that_they_wait() {
    let mut sim = Sim::new();
    sim.look(|state| state.jobs.held.insert("builds"));
    let build = sim.ask(1, "author", "/build");
    sim.until(&build, |command| command.posted.check.is_some());
    let foreign = sim.comment(1, "stranger", "/build\n/build");
    let own = sim.ask(1, "mate", "/build");
    sim.until(&own, |command| command.posted.comment.is_some());
    assert_eq!(sim.look(|state| state.hub.said().len()), 2);
    sim.look(|state| state.jobs.held.clear());
    for id in &foreign {
        assert_eq!(reason(&sim.ended(id)), Reason::PermissionDenied);
    }
    sim.ended(&own);
    assert_eq!(sim.look(|state| state.hub.said().len()), 3);
}
