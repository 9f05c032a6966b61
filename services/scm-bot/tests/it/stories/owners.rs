//! Several repositories and one place to deploy to: whose it is.

use std::time::Duration;

use kfops_core::Reason;
use kfops_scm_bot::{
    command::{Command, State},
    ports::Lock,
};

use super::{PRODUCTION, message, reason};
use crate::sim::{
    Sim,
    gate::{Port, Weather},
    rng::Rng,
};

fn moves_to(sim: &Sim, repository: &str) {
    sim.look(|state| state.hub.repository = repository.to_owned());
}

fn refused(command: &Command, because: &str) {
    assert_eq!((command.state, reason(command)), (State::Refused, Reason::PolicyRefused), "{command:#?}");
    assert!(message(command).contains(because), "{command:#?}");
}

#[test]
fn another_repository_cannot_touch_what_is_live() {
    let mut sim = Sim::new();
    assert_eq!(sim.told(1, "author", "/ship").state, State::Succeeded);
    // Its default branch names the same namespace and serving.name.
    moves_to(&sim, "p/q");
    let theirs = format!("{PRODUCTION} belongs to o/r, and this is p/q");
    assert_eq!(sim.told(2, "author", "/build_run").state, State::Succeeded);
    sim.look(|state| state.hub.pull(2).behind = 0);
    for body in ["/deploy", "/ship", "/rollback", "/rollback --to iris-00001"] {
        let command = sim.told(2, "author", body);
        refused(&command, &theirs);
        assert!(command.failure.as_ref().unwrap().action.contains("targets.owners"), "{command:#?}");
    }
    for body in ["/status", "/why", "/plan"] {
        assert_eq!(sim.told(2, "author", body).state, State::Succeeded, "{body}");
    }
    let plan = sim.look(|state| state.hub.said().pop().unwrap());
    assert!(plan.contains("belongs to o/r"), "{plan}");
    // Without a file in the default branch the pull request says where it goes.
    sim.look(|state| state.hub.base = None);
    refused(&sim.told(2, "author", "/deploy"), &theirs);
    assert_eq!(sim.look(|state| state.jobs.of("rollouts").len()), 1);
}

#[test]
fn the_lock_of_a_target_is_its_owners_too() {
    let mut sim = Sim::new();
    sim.look(|state| state.jobs.held.insert("rollouts"));
    let ship = sim.ask(1, "author", "/ship");
    sim.until(&ship, |command| command.steps.iter().any(|step| step.title.starts_with("revision ")));
    // The first of all: nobody owns it yet, but somebody is at work.
    moves_to(&sim, "p/q");
    refused(&sim.told(2, "boss", "/unlock"), "belongs to o/r");
    // Who waits for it finds it taken.
    let second = sim.ask(2, "author", "/ship");
    sim.until(&second, |command| command.steps.iter().any(|step| step.message.contains("waits for")));
    sim.look(|state| state.jobs.held.clear());
    let first = sim.ended(&ship);
    assert_eq!(first.state, State::Succeeded, "{first:#?}");
    let second = sim.ended(&second);
    assert_eq!((second.state, reason(&second)), (State::Failed, Reason::PolicyRefused), "{second:#?}");
    assert_eq!(sim.look(|state| state.jobs.of("rollouts").len()), 1);
}

#[test]
fn the_operator_hands_a_target_over() {
    let mut sim = Sim::asleep();
    sim.settings.targets.owners = [(PRODUCTION.to_owned(), "New/name".to_owned())].into();
    refused(&sim.told(1, "author", "/ship"), "belongs to New/name");
    moves_to(&sim, "new/name");
    assert_eq!(sim.told(1, "author", "/ship").state, State::Succeeded);
    // Who deployed last keeps it without being named.
    sim.settings.targets.owners.clear();
    sim.restart();
    moves_to(&sim, "o/r");
    refused(&sim.told(2, "boss", "/ship --force"), "belongs to new/name");
}

#[test]
fn a_run_of_another_repository_is_not_deployed() {
    let mut sim = Sim::new();
    let run = sim.told(1, "author", "/build_run").lineage.run.unwrap();
    // A fork has the same commit.
    moves_to(&sim, "p/q");
    let refused = sim.told(1, "author", &format!("/deploy --run-id {run}"));
    assert_eq!((refused.state, reason(&refused)), (State::Refused, Reason::NoRun), "{refused:#?}");
    assert!(message(&refused).contains("is not one of this repository"), "{refused:#?}");
    moves_to(&sim, "o/r");
    sim.look(|state| state.hub.pulls.get_mut(&2).unwrap().head = crate::sim::hub::HEAD.into());
    // One of another pull request of the same commit may be named.
    assert_eq!(sim.told(2, "author", &format!("/staging_deploy --run-id {run}")).state, State::Succeeded);
}

#[test]
fn what_is_not_allowed_is_not_heard() {
    let mut sim = Sim::asleep();
    sim.settings.github.allow = vec!["O/*".into()];
    moves_to(&sim, "p/q");
    assert!(sim.comment(1, "author", "/build\n/typo").is_empty());
    sim.push(1, &"a".repeat(40));
    sim.look(|state| {
        assert!(state.hub.calls.is_empty() && state.book.commands.is_empty(), "{:?}", state.hub.calls);
        assert!(state.book.knows("guid-1"), "it would be looked for again");
    });
    moves_to(&sim, "o/r");
    assert_eq!(sim.told(1, "author", "/build").state, State::Succeeded);
}

#[test]
fn a_lock_is_taken_whatever_the_record_of_its_holder_says() {
    let mut sim = Sim::new();
    // As one that cannot be read: it looks as if it had ended, and names no target.
    let holder = sim.told(2, "author", "/build").id;
    sim.look(|state| {
        let since = state.hub.comments[0].at;
        let lock = Lock { target: PRODUCTION.into(), holder: Some(holder.clone()), fence: 7, since, queue: Vec::new() };
        state.book.locks.insert(PRODUCTION.into(), lock);
    });
    assert_eq!(sim.told(1, "boss", "/unlock").state, State::Succeeded);
    let said = sim.look(|state| state.hub.said().pop().unwrap());
    assert!(said.contains(&format!("The lock of `{PRODUCTION}` was taken from /build (`{holder}`)")), "{said}");
    assert_eq!(sim.look(|state| state.book.locks[PRODUCTION].holder.clone()), None);
    assert_eq!(sim.told(1, "author", "/ship").state, State::Succeeded);
}

#[test]
fn what_is_ones_own_is_canceled_while_github_is_away() {
    let mut sim = Sim::new();
    sim.look(|state| state.jobs.held.insert("builds"));
    let build = sim.ask(1, "author", "/build");
    sim.until(&build, |command| command.begun() && command.posted.check.is_some());
    let (now, rng) = (sim.world.time.passed(), Rng::new(1));
    let until = now + Duration::from_secs(300);
    let away = vec![(Port::GitHub, Duration::ZERO, until)];
    sim.world.gate().weather = Some(Weather { rng, ledger: 6, refused: 0, lost: 0, hangs: 0, away, until });
    // Somebody else's rights are GitHub's to say.
    let other = sim.ask(1, "mate", "/cancel");
    sim.pass(Duration::from_secs(60));
    assert_eq!((sim.get(&build).outcome, sim.get(&other).outcome), (None, None));
    sim.ask(1, "author", "/cancel");
    sim.until(&build, |command| command.outcome.is_some());
    assert_eq!(sim.get(&build).outcome, Some(State::Canceled));
    assert!(sim.world.time.passed() < now + Duration::from_secs(90));
    assert!(sim.settle());
}
