//! Mistakes about what is done, in which order, and for how long.

use std::{collections::BTreeMap, time::Duration};

use kfops_core::{Reason, TraceContext};
use kfops_project::{Memory, Project};
use kfops_scm_bot::{
    WorkerSettings,
    command::State,
    ports::{Work, WorkState, Workers as _},
    step::{Stage, StepState},
    workers::GrpcWorkers,
};
use tokio::net::TcpListener;

use crate::{
    repository::PROJECT,
    sim::{self, Sim, hub::HEAD, jobs::images as images_of},
    stories::{PRODUCTION, message, reason},
};

#[test]
fn every_step_uses_the_commit_of_the_comment() {
    let mut sim = Sim::new();
    sim.look(|state| state.jobs.held.insert("builds"));
    let asked = sim.ask(1, "author", "/build_run");
    sim.until(&asked, |command| command.progress(Stage::Build) == StepState::Running);
    sim.push(1, &"a".repeat(40));
    sim.look(|state| state.jobs.held.clear());
    let command = sim.ended(&asked);
    assert_eq!((command.state, command.commit()), (State::Succeeded, HEAD), "{command:#?}");
    sim.look(|state| {
        let commit = |work: &Work| match work {
            Work::Build { source, .. } | Work::Compile { source, .. } => Some(source.commit.clone()),
            _ => None,
        };
        let used: Vec<_> = state.jobs.all.values().filter_map(|job| commit(&job.work)).collect();
        assert_eq!(used, [HEAD, HEAD]);
    });
}

/// A rollout with a canary, at its first step.
fn canary(sim: &mut Sim) -> String {
    sim.look(|state| {
        state.jobs.live_from_the_beginning(PRODUCTION, "iris-00001");
        state.jobs.held.insert("rollouts");
    });
    let asked = sim.ask(1, "author", "/ship");
    sim.until(&asked, |command| command.steps.iter().any(|step| step.title == "canary 10 %"));
    asked
}

#[test]
fn what_was_pushed_meanwhile_is_not_merged() {
    let mut sim = Sim::new();
    let asked = canary(&mut sim);
    sim.push(1, &"a".repeat(40));
    sim.look(|state| state.jobs.held.clear());
    let command = sim.ended(&asked);
    assert_eq!(reason(&command), Reason::MergeFailed, "{command:#?}");
    sim.look(|state| {
        let pull = state.hub.pull(1);
        assert!(!pull.merged && pull.merges.is_empty());
        let said = state.hub.said().pop().unwrap();
        assert!(said.contains("but the pull request is not merged"), "{said}");
    });
}

#[test]
fn what_cannot_be_merged_does_not_go_live() {
    let mut sim = Sim::new();
    sim.told(1, "author", "/build_run");
    sim.look(|state| state.hub.pull(1).mergeable = Some(false));
    assert_eq!(reason(&sim.told(1, "author", "/deploy")), Reason::NotMergeable);
    // Found out while it was built and run.
    sim.look(|state| {
        state.hub.pull(1).mergeable = Some(true);
        state.jobs.held.insert("runs");
    });
    let asked = sim.ask(1, "author", "/ship");
    sim.until(&asked, |command| command.progress(Stage::Run) == StepState::Running);
    sim.look(|state| {
        state.hub.pull(1).mergeable = Some(false);
        state.jobs.held.clear();
    });
    let command = sim.ended(&asked);
    assert_eq!((command.state, reason(&command)), (State::Failed, Reason::NotMergeable), "{command:#?}");
    sim.look(|state| {
        assert!(state.jobs.of("rollouts").is_empty() && !state.hub.pull(1).merged);
    });
}

/// Somebody listens, and says nothing.
#[tokio::test]
async fn a_worker_that_says_nothing_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let settings =
        WorkerSettings { image_builder: address.clone(), pipeline_runner: address.clone(), serving_deployer: address };
    let workers = GrpcWorkers::new(&settings).unwrap();
    let version = "v-1".to_owned();
    let pipeline = Project::load(&Memory::new().with("kfops.yaml", PROJECT));
    let pipeline = pipeline.unwrap().project.pipeline;
    let work = Work::Run { version, arguments: BTreeMap::new(), pipeline };
    let trace = TraceContext::from_random([1; 24]);
    let hour = Duration::from_secs(3600);
    let all = async { tokio::join!(workers.start("r-1", &work, &trace, hour), workers.run("r-1"), workers.live("x")) };
    let (started, run, live) = tokio::time::timeout(Duration::from_secs(60), all).await.unwrap();
    for failure in [started.unwrap_err(), run.unwrap_err(), live.unwrap_err()] {
        assert!(failure.retryable, "{failure:?}");
    }
}

#[test]
fn what_did_not_succeed_goes_no_further() {
    let next = [("builds", "pipelineVersions"), ("pipelineVersions", "runs"), ("runs", "rollouts")];
    for (collection, next) in next {
        // Neither failed nor succeeded: somebody else ended it.
        let mut sim = Sim::new();
        sim.look(|state| state.jobs.held.insert(collection));
        let asked = sim.ask(1, "author", "/ship");
        assert!(sim.wait(|state| !state.jobs.of(collection).is_empty()));
        sim.look(|state| {
            let (job, now) = (state.jobs.of(collection)[0].clone(), Duration::ZERO);
            state.jobs.cancel(job.stage, &job.id, now).unwrap();
        });
        let command = sim.ended(&asked);
        assert_eq!(command.state, State::Canceled, "{collection}: {command:#?}");
        assert!(sim.look(|state| state.jobs.of(next).is_empty() && !state.hub.pull(1).merged));
    }
    // It succeeded, and left nothing to deploy.
    let mut sim = Sim::new();
    let command = sim.told(1, "author", "/ship --set model=none");
    assert_eq!((command.state, reason(&command)), (State::Failed, Reason::ModelMissing));
    assert!(sim.look(|state| state.jobs.of("rollouts").is_empty()));
}

#[test]
fn work_that_does_not_end_is_ended() {
    let timeouts = "timeouts: {build: 10m, compile: 3m, rollout: 20m}\n";
    let project = PROJECT.replace("arguments: {max", "timeout: 15m\n  arguments: {max") + timeouts;
    for (collection, minutes) in [("builds", 10), ("pipelineVersions", 3), ("runs", 15), ("rollouts", 20)] {
        let mut sim = Sim::new();
        sim.look(|state| {
            state.hub.set_project(&project);
            state.jobs.live_from_the_beginning(PRODUCTION, "iris-00001");
            state.jobs.held.insert(collection);
        });
        let command = sim.told(1, "author", "/ship");
        assert_eq!((command.state, reason(&command)), (State::Failed, Reason::DeadlineExceeded), "{command:#?}");
        assert!(message(&command).contains(&format!("took longer than {minutes}m and was ended")), "{command:#?}");
        let took = command.ended.unwrap().duration_since(command.received).unwrap();
        assert!(took < Duration::from_secs(60 * (minutes + 5)), "{collection}: {took:?}");
        sim.look(|state| {
            assert_eq!(state.jobs.of(collection)[0].state, WorkState::Canceled);
            assert_eq!(state.jobs.services[PRODUCTION].live.as_deref(), Some("iris-00001"));
        });
    }
}

#[test]
fn there_is_no_version_without_its_images() {
    let mut sim = Sim::new();
    sim.look(|state| state.jobs.held.insert("builds"));
    let asked = sim.ask(1, "author", "/build_run");
    sim.until(&asked, |command| command.progress(Stage::Build) == StepState::Running);
    sim.pass(Duration::from_secs(300));
    assert_eq!(sim.look(|state| state.jobs.begun.len()), 1);
    sim.look(|state| state.jobs.held.clear());
    let command = sim.ended(&asked);
    assert_eq!(command.state, State::Succeeded);
    sim.look(|state| {
        let Work::Compile { images, .. } = &state.jobs.of("pipelineVersions")[0].work else { panic!("not a version") };
        assert_eq!(*images, images_of(&state.jobs.of("builds")[0].work));
        assert_eq!(images.len(), 2);
    });
}

#[test]
fn a_cancel_ends_what_is_under_way() {
    for collection in ["builds", "pipelineVersions", "runs", "rollouts"] {
        let mut sim = Sim::new();
        sim.look(|state| {
            state.jobs.live_from_the_beginning(PRODUCTION, "iris-00001");
            state.jobs.held.insert(collection);
        });
        let asked = sim.ask(1, "author", "/ship");
        let there = |state: &sim::State| state.jobs.of(collection).iter().any(|job| job.is_open());
        assert!(sim.wait(there));
        sim.pass(Duration::from_secs(20));
        let begun = sim.world.time.passed();
        let cancel = sim.ask(1, "author", "/cancel");
        assert!(sim.wait(|state| state.jobs.of(collection)[0].cancel.is_some()));
        let took = sim.world.time.passed() - begun;
        assert!(took <= Duration::from_secs(2), "{collection}: {took:?}");
        assert_eq!(sim.ended(&asked).state, State::Canceled);
        assert_eq!(sim.ended(&cancel).state, State::Succeeded);
        sim.look(|state| {
            assert_eq!(state.jobs.of(collection)[0].state, WorkState::Canceled);
            assert_eq!(state.jobs.services[PRODUCTION].live.as_deref(), Some("iris-00001"));
            assert!(state.jobs.services[PRODUCTION].canary.is_none());
        });
    }
}

/// The worker is told to end it, and does not.
#[test]
fn work_that_cannot_be_ended_holds_up_nobody() {
    let project = PROJECT.to_owned() + "timeouts: {build: 10m, compile: 3m, rollout: 20m}\n";
    for collection in ["builds", "pipelineVersions", "rollouts"] {
        for canceled in [false, true] {
            let mut sim = Sim::new();
            sim.look(|state| {
                state.hub.set_project(&project);
                state.jobs.live_from_the_beginning(PRODUCTION, "iris-00001");
                state.jobs.held.insert(collection);
                state.jobs.deaf.insert(collection);
            });
            let asked = sim.ask(1, "author", "/ship");
            assert!(sim.wait(|state| !state.jobs.of(collection).is_empty()));
            if canceled {
                sim.ask(1, "author", "/cancel");
            }
            let ended = sim.wait(|state| state.book.commands[&asked].state.ended());
            let command = sim.get(&asked);
            assert!(ended, "{collection}, canceled {canceled}: {command:#?}");
            assert_eq!((command.state, reason(&command)), (State::Failed, Reason::DeadlineExceeded), "{command:#?}");
            assert!(sim.look(|state| state.book.locks.values().all(|lock| lock.holder.is_none())));
        }
    }
}
