//! The way from a commit to a live model.

use kfops_core::{Failure, Reason};
use kfops_scm_bot::{
    command::State,
    ports::{DeploymentState, Work},
};

use super::{PRODUCTION, STAGING, reason, titles};
use crate::sim::{Sim, hub::HEAD, serving::target_of};

#[test]
fn build_run_builds_and_runs_with_few_calls() {
    let mut sim = Sim::new();
    let command = sim.told(1, "author", "/build_run --set max_depth=5 --set pipeline_args.name=x");
    assert_eq!(command.state, State::Succeeded, "{command:#?}");
    assert_eq!(command.commit(), HEAD);
    assert_eq!(
        titles(&command),
        ["gate", "source", "build", "image trainer", "image client", "compile", "tag", "run", "task train"]
    );
    let calls = sim.look(|state| state.hub.calls.clone());
    assert!(command.github_calls <= 8, "{}: {calls:#?}", command.github_calls);
    assert_eq!(command.github_calls as usize, calls.len());
    let lineage = &command.lineage;
    assert_eq!(lineage.images.len(), 2);
    assert!(lineage.run.as_ref().unwrap().starts_with("r-") && lineage.version.as_ref().unwrap().starts_with("v-"));
    sim.look(|state| {
        let Work::Run { arguments, .. } = &state.jobs.of("runs")[0].work else { panic!("not a run") };
        assert_eq!(serde_json::json!(arguments), serde_json::json!({"features": 4, "max_depth": 5, "name": "x"}));
        let said = state.hub.said();
        assert_eq!(said.len(), 1);
        assert!(
            said[0]
                .contains("**/build\\_run** `--set max_depth=5 --set pipeline_args.name=x` by @author for `3f2c1e7`")
                && said[0].contains("Next: `/deploy`"),
            "{}",
            said[0]
        );
        let checks: Vec<_> = state.hub.checks.iter().map(|check| &check.run).collect();
        assert_eq!(checks.len(), 1);
        assert_eq!((checks[0].name.as_str(), checks[0].completed.unwrap().0), ("kfops/build_run", "success"));
        // Once the version is there, its images bear its name.
        assert_eq!(state.jobs.of("builds")[0].tags.iter().next(), lineage.version.as_ref());
    });
    // The client's files are the same: nobody builds it again.
    sim.push(1, &"a".repeat(40));
    let again = sim.told(1, "author", "/build");
    assert_eq!(again.lineage.reused, ["client"]);
    let said = sim.look(|state| state.hub.said().pop().unwrap());
    assert!(said.contains("| image client | ✓ |") && said.contains("reused"), "{said}");
}

#[test]
fn deploy_is_refused_before_anything_ran_and_works_afterwards() {
    let mut sim = Sim::new();
    sim.look(|state| state.jobs.live_from_the_beginning(PRODUCTION, "iris-00001"));
    let refused = sim.told(1, "author", "/deploy");
    assert_eq!((refused.state, reason(&refused)), (State::Refused, Reason::NoRun));
    sim.look(|state| {
        assert!(state.hub.said()[0].contains("**/deploy refused:** nothing was run in this pull request yet."));
        assert!(state.jobs.begun.is_empty() && state.hub.deployments.is_empty());
        state.hub.pull(2).labels.insert("Deployed-to-production".into());
    });
    assert_eq!(sim.told(1, "author", "/build_run").state, State::Succeeded);
    let deployed = sim.told(1, "author", "/deploy\nthanks");
    assert_eq!(deployed.state, State::Succeeded, "{deployed:#?}");
    let lineage = deployed.lineage.clone();
    assert_eq!((lineage.revision.as_str(), lineage.merge_commit.len()), ("iris-00002", 40));
    assert_eq!(lineage.images.len(), 2);
    sim.look(|state| {
        let Work::Rollout { inference_service, strategy, model, fence, .. } = &state.jobs.of("rollouts")[0].work else {
            panic!("not a rollout")
        };
        assert_eq!((inference_service.as_str(), *fence), (PRODUCTION, 1));
        assert_eq!(strategy.canary, [10, 50]);
        assert_eq!(Some(model), lineage.model.as_ref());
        let pull = state.hub.pull(1);
        assert!(pull.merged && pull.merges == [HEAD]);
        assert_eq!(state.hub.bearers("Deployed-to-production"), [1]);
        assert!(state.hub.said()[2].contains("merged as `0101010`"), "{}", state.hub.said()[2]);
        let record = &state.hub.deployments[0];
        assert_eq!((record.deployment.commit.as_str(), record.deployment.environment.as_str()), (HEAD, "production"));
        assert!(record.deployment.production && record.deployment.environment_url.is_some());
        assert_eq!(record.statuses, [DeploymentState::InProgress, DeploymentState::Success]);
    });
    let again = sim.told(1, "author", "/deploy");
    assert_eq!(reason(&again), Reason::PullRequestClosed);
}

#[test]
fn a_deploy_of_a_minute_makes_eight_calls_or_fewer() {
    let mut sim = Sim::new();
    sim.told(1, "author", "/build_run");
    for body in ["/staging_deploy", "/deploy"] {
        let command = sim.told(1, "author", body);
        assert_eq!(command.state, State::Succeeded, "{command:#?}");
        assert!(command.github_calls <= 8, "{body}: {}", command.github_calls);
    }
}

#[test]
fn a_ship_shows_each_canary_step_and_short_commands_make_eight_calls() {
    let mut sim = Sim::new();
    sim.look(|state| state.jobs.live_from_the_beginning(PRODUCTION, "iris-00001"));
    // As in the demo: half a minute in all, most of it the canary's.
    for what in ["builds", "runs", "revision"] {
        sim.look(|state| state.jobs.takes.insert(what, std::time::Duration::from_secs(3)));
    }
    for (body, most) in [("/build_run", 8), ("/deploy", 8), ("/ship --force", 14)] {
        sim.look(|state| state.hub.calls.clear());
        let pull = if body.starts_with("/ship") { 2 } else { 1 };
        let id = sim.ask(pull, "boss", body);
        if body.starts_with("/ship") {
            for step in ["| canary 10 % | ● |", "| canary 50 % | ● |"] {
                assert!(
                    sim.wait(|state| state.hub.said().last().is_some_and(|said| said.contains(step))),
                    "{body}: {step}"
                );
            }
        }
        let command = sim.ended(&id);
        assert_eq!(command.state, State::Succeeded, "{command:#?}");
        let calls = sim.look(|state| state.hub.calls.clone());
        assert!(command.github_calls <= most, "{body}: {}: {calls:#?}", command.github_calls);
    }
}

#[test]
fn a_deploy_after_a_failed_run_says_that_it_failed() {
    let mut sim = Sim::new();
    sim.look(|state| {
        state
            .jobs
            .fail_next("runs", Failure::new(Reason::TaskFailed, "task `evaluate` failed: accuracy 0.5 is below 0.9"))
    });
    let ran = sim.told(1, "author", "/build_run");
    assert_eq!(reason(&ran), Reason::TaskFailed);
    let said = sim.look(|state| state.hub.said().pop().unwrap());
    assert!(said.contains("task `evaluate` failed") && !said.contains("Next: `/retry "), "{said}");
    let refused = sim.told(1, "author", "/deploy");
    assert_eq!((refused.state, reason(&refused)), (State::Refused, Reason::NoRun));
    let message = &refused.failure.as_ref().unwrap().message;
    let wanted = format!(
        "the run of 3f2c1e7, {} by /build_run ({}), failed: task `evaluate` failed: accuracy 0.5 is below 0.9",
        ran.resource(kfops_scm_bot::step::Stage::Run),
        ran.id
    );
    assert_eq!(*message, wanted);
}

#[test]
fn ship_goes_the_whole_way() {
    let mut sim = Sim::new();
    sim.look(|state| state.jobs.live_from_the_beginning(PRODUCTION, "iris-00001"));
    let command = sim.told(1, "author", "/ship");
    assert_eq!(command.state, State::Succeeded, "{command:#?}");
    sim.look(|state| {
        assert_eq!(state.jobs.kinds(), ["builds", "pipelineVersions", "runs", "rollouts"]);
        assert!(state.hub.pull(1).merged);
    });
    assert!(titles(&command).contains(&"revision iris-00002") && titles(&command).contains(&"canary 10 %"));
}

#[test]
fn staging_neither_merges_nor_asks_for_the_base() {
    let mut sim = Sim::new();
    sim.look(|state| state.hub.pull(1).behind = 3);
    sim.told(1, "author", "/build_run");
    let command = sim.told(1, "author", "/staging_deploy");
    assert_eq!(command.state, State::Succeeded, "{command:#?}");
    sim.look(|state| {
        assert_eq!(target_of(&state.jobs.of("rollouts")[0].work), STAGING);
        assert!(!state.hub.pull(1).merged);
        assert_eq!(state.hub.bearers("Deployed-to-staging"), [1]);
        assert!(!state.hub.deployments[0].deployment.production);
    });
}

#[test]
fn run_takes_the_version_built_last() {
    let mut sim = Sim::new();
    assert_eq!(reason(&sim.told(1, "author", "/run")), Reason::NoVersion);
    let built = sim.told(1, "author", "/build");
    let ran = sim.told(1, "author", "/run --set max_depth=7");
    assert_eq!(ran.state, State::Succeeded, "{ran:#?}");
    let version = built.lineage.version.unwrap();
    assert_eq!(ran.lineage.version.as_ref(), Some(&version));
    let partial = sim.told(1, "author", "/build trainer");
    assert_eq!(partial.lineage.images.len(), 2);
    sim.look(|state| {
        let Work::Build { images, .. } = &state.jobs.of("builds")[1].work else { panic!("not a build") };
        assert_eq!(images.len(), 1);
    });
    let named = sim.told(1, "author", &format!("/run --version-id {version}"));
    assert_eq!((named.state, named.lineage.version.as_ref()), (State::Succeeded, Some(&version)));
    assert_eq!(reason(&sim.told(1, "author", "/run --version-id v-none")), Reason::NoVersion);
    assert_eq!(reason(&sim.told(1, "author", "/build nothing")), Reason::InvalidArgument);
}

#[test]
fn a_failure_in_each_worker_is_told() {
    for (collection, broken, says) in [
        ("builds", Reason::ImageBuildFailed, "Nothing that is live was touched."),
        ("pipelineVersions", Reason::CompileFailed, "Nothing that is live was touched."),
        ("runs", Reason::TaskFailed, "Nothing that is live was touched."),
        ("rollouts", Reason::ProofFailed, "Live stays iris-00001."),
    ] {
        let mut sim = Sim::new();
        let failure = Failure::new(broken, "it broke <b>@all</b>").log_tail("line 1\nline 2").action("mend it");
        sim.look(|state| {
            state.jobs.live_from_the_beginning(PRODUCTION, "iris-00001");
            state.jobs.fail_next(collection, failure);
        });
        let command = sim.told(1, "author", "/ship");
        assert_eq!(command.state, State::Failed, "{command:#?}");
        assert_eq!(command.failure.as_ref().unwrap().log_tail, "line 1\nline 2");
        sim.look(|state| {
            let said = state.hub.said().pop().unwrap();
            assert!(said.contains("**/ship failed:** it broke &lt;b&gt;@\u{200b}all&lt;/b&gt;."), "{said}");
            assert!(said.contains(says) && said.contains("line 1\nline 2"), "{said}");
            let pull = state.hub.pull(1);
            assert!(!pull.merged && pull.labels.is_empty());
            assert_eq!(state.hub.checks[0].run.completed.unwrap().0, "failure");
            let states = state.hub.deployments.iter().map(|record| record.deployment.state).collect::<Vec<_>>();
            let expected = if collection == "rollouts" { vec![DeploymentState::Failure] } else { Vec::new() };
            assert_eq!(states, expected);
            assert_eq!(state.jobs.services[PRODUCTION].live.as_deref(), Some("iris-00001"));
        });
    }
}

#[test]
fn a_merge_that_github_refuses_is_told_with_what_is_live() {
    let mut sim = Sim::new();
    sim.look(|state| {
        state.hub.merge_refusal = Some("Head branch was modified. Review and try the merge again.".into());
    });
    let command = sim.told(1, "author", "/ship");
    assert_eq!(reason(&command), Reason::MergeFailed);
    let said = sim.look(|state| state.hub.said().pop().unwrap());
    assert!(
        said.contains("The new model **is live** in production (iris-00001), but the pull request is not merged."),
        "{said}"
    );
    let record = sim.look(|state| state.hub.deployments[0].clone());
    assert_eq!(record.deployment.state, DeploymentState::Success, "live is live");
}

#[test]
fn a_merge_that_clashes_with_another_is_tried_again() {
    let mut sim = Sim::new();
    sim.look(|state| {
        state.hub.merge_refusal = Some("Base branch was modified. Review and try the merge again.".into());
    });
    assert_eq!(sim.told(1, "author", "/ship").state, State::Succeeded);
}

#[test]
fn the_strategy_of_the_command_counts() {
    let mut sim = Sim::new();
    sim.look(|state| state.jobs.live_from_the_beginning(PRODUCTION, "iris-00001"));
    sim.told(1, "author", "/build_run");
    let deployed = sim.told(1, "author", "/deploy --canary 5,20,80");
    assert_eq!(deployed.state, State::Succeeded, "{deployed:#?}");
    for title in ["canary 5 %", "canary 20 %", "canary 80 %"] {
        assert!(titles(&deployed).contains(&title), "{:?}", titles(&deployed));
    }
    let at_once = sim.told(2, "author", "/ship --canary 0");
    assert!(!titles(&at_once).iter().any(|title| title.starts_with("canary")), "{:?}", titles(&at_once));
}

#[test]
fn commands_of_a_pull_request_run_in_order_and_targets_are_serial() {
    let mut sim = Sim::new();
    sim.look(|state| state.jobs.held.insert("builds"));
    let ids = sim.comment(1, "author", "/build\n/run\n/status");
    assert_eq!(ids.len(), 3);
    // The one that only reads waits for nobody.
    assert_eq!(sim.ended(&ids[2]).state, State::Succeeded);
    sim.until(&ids[0], |command| command.steps.iter().any(|step| step.title == "image trainer"));
    assert_eq!(sim.get(&ids[1]).state, State::Received);
    sim.look(|state| state.jobs.held.clear());
    assert_eq!(sim.ended(&ids[1]).state, State::Succeeded);

    sim.told(2, "author", "/build_run");
    sim.look(|state| {
        state.jobs.live_from_the_beginning(PRODUCTION, "iris-00001");
        state.jobs.held.insert("rollouts")
    });
    let first = sim.ask(1, "author", "/deploy");
    sim.until(&first, |command| command.steps.iter().any(|step| step.title == "revision iris-00002"));
    let second = sim.ask(2, "author", "/deploy");
    sim.until(&second, |command| command.steps.iter().any(|step| step.message.contains("waits for")));
    assert_eq!(sim.look(|state| state.jobs.of("rollouts").len()), 1);
    sim.look(|state| state.jobs.held.clear());
    assert_eq!(sim.ended(&first).state, State::Succeeded);
    // What the first merges puts the second behind: it must not go live.
    let second = sim.ended(&second);
    assert_eq!((second.state, reason(&second)), (State::Refused, Reason::BehindBase), "{second:#?}");
    assert_eq!(sim.look(|state| state.jobs.of("rollouts").len()), 1);
}
