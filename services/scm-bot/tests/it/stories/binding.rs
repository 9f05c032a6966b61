//! Which commit a comment is about: the one that was the head when it was written, whenever its webhook comes, and
//! whenever somebody tells of a push. And nothing, once it was taken back.

use std::time::Duration;

use kfops_core::Reason;
use kfops_scm_bot::command::{Command, State};

use super::{
    PRODUCTION,
    lost::{attentive, lost, only},
    message, reason,
};
use crate::sim::{
    Sim,
    gate::Fault,
    hub::{HEAD, Sent},
};

const NEXT: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const LAST: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// Somebody pushes, and nobody is told yet.
fn quietly(sim: &mut Sim, head: &str) -> Sent {
    sim.pass(Duration::from_secs(2));
    let now = sim.world.time.now();
    let sent = sim.look(|state| state.hub.push(1, head, now));
    sim.pass(Duration::from_secs(2));
    sent
}

/// It is superseded, and the comment says what to do to mean the new commit.
fn says(sim: &Sim, command: &Command, head: &str) {
    assert_eq!((command.state, reason(command)), (State::Superseded, Reason::Superseded), "{command:#?}");
    assert_eq!(message(command), "a commit was pushed after this comment");
    let said = sim.look(|state| state.hub.said().pop().unwrap());
    let again = format!("rite /{} again to mean {}.", command.verb.as_str(), &head[..7]);
    assert!(said.contains("superseded:** a commit was pushed after this comment.") && said.contains(&again), "{said}");
}

#[test]
fn a_push_before_the_head_was_read_supersedes() {
    let mut sim = Sim::new();
    sim.world.gate().next = vec![("look", Fault::Refused); 8];
    let id = sim.ask(1, "author", "/ship");
    quietly(&mut sim, NEXT);
    assert!(sim.get(&id).pull.is_none(), "GitHub was away for too short a time");
    let sent = sim.look(|state| state.hub.sent.last().unwrap().clone());
    sim.deliver(&sent);
    let command = sim.ended(&id);
    says(&sim, &command, NEXT);
    assert!(sim.look(|state| state.jobs.begun.is_empty() && state.hub.pull(1).merges.is_empty()));
    assert_eq!(sim.told(1, "author", "/ship").commit(), NEXT);
}

#[test]
fn what_was_written_before_a_push_is_found_after_it() {
    let mut sim = attentive();
    sim.crash();
    lost(&sim, "/ship");
    sim.world.time.skip(Duration::from_secs(5));
    let now = sim.world.time.now();
    sim.look(|state| state.hub.push(1, NEXT, now));
    sim.world.time.skip(Duration::from_secs(600));
    let id = only(&mut sim);
    let command = sim.ended(&id);
    says(&sim, &command, NEXT);
    assert!(sim.look(|state| state.jobs.begun.is_empty()));
    // In the second of a push nobody knows who was first.
    let mut sim = attentive();
    sim.crash();
    let now = sim.world.time.now();
    sim.look(|state| state.hub.push(1, NEXT, now));
    lost(&sim, "/ship");
    let id = only(&mut sim);
    assert_eq!(sim.ended(&id).state, State::Superseded);
}

#[test]
fn a_comment_that_comes_after_the_push_it_did_not_know_is_superseded() {
    let mut sim = Sim::new();
    let late = lost(&sim, "/build\n/status\n/retry");
    let push = quietly(&mut sim, NEXT);
    sim.deliver(&push);
    sim.deliver(&late);
    sim.settle();
    let commands = sim.look(|state| state.book.ordered().into_iter().cloned().collect::<Vec<_>>());
    let states: Vec<_> = commands.iter().map(|command| command.state).collect();
    assert_eq!(states, [State::Superseded, State::Succeeded, State::Superseded]);
    assert!(sim.look(|state| state.jobs.begun.is_empty()));
}

#[test]
fn a_push_from_before_a_comment_never_supersedes_it() {
    let mut sim = Sim::new();
    sim.look(|state| state.jobs.held.insert("runs"));
    let (first, second) = (quietly(&mut sim, NEXT), quietly(&mut sim, LAST));
    sim.deliver(&second);
    let under_way = sim.ask(1, "author", "/build_run");
    let waits = sim.ask(1, "author", "/build");
    sim.until(&waits, |command| command.pull.is_some());
    sim.pass(Duration::from_secs(5));
    // The first one comes late, the second once more under another GUID.
    sim.deliver(&first);
    sim.deliver(&Sent { guid: "again".into(), at: sim.world.time.now(), ..second });
    assert_eq!(sim.get(&waits).superseded_by, None);
    sim.look(|state| state.jobs.held.clear());
    for id in [under_way, waits] {
        let command = sim.ended(&id);
        assert_eq!((command.state, command.commit()), (State::Succeeded, LAST), "{command:#?}");
    }
}

/// A command under way with a commit that nobody meant, and the webhook that will tell.
fn unmeant(sim: &mut Sim, body: &str) -> (String, Sent) {
    let late = lost(sim, body);
    let push = quietly(sim, NEXT);
    sim.deliver(&late);
    (only(sim), push)
}

#[test]
fn what_began_with_a_commit_that_nobody_meant_does_not_go_live() {
    let mut sim = Sim::new();
    sim.look(|state| state.jobs.held.insert("runs"));
    let (id, push) = unmeant(&mut sim, "/ship");
    assert!(sim.wait(|state| !state.jobs.of("runs").is_empty()));
    assert_eq!(sim.get(&id).commit(), NEXT);
    sim.deliver(&push);
    let command = sim.ended(&id);
    says(&sim, &command, NEXT);
    sim.look(|state| {
        assert!(state.jobs.of("rollouts").is_empty() && state.jobs.all.values().all(|job| !job.is_open()));
        assert!(state.hub.said()[0].contains("| run |"), "{}", state.hub.said()[0]);
    });
    // It is no failure: there is nothing to take up.
    let retried = sim.told(1, "author", "/retry");
    assert_eq!(retried.state, State::Refused, "{retried:#?}");
    sim.look(|state| state.jobs.held.clear());
    assert_eq!(sim.told(1, "author", "/ship").state, State::Succeeded);
}

#[test]
fn a_rollout_of_a_commit_that_nobody_meant_is_taken_back() {
    let mut sim = Sim::new();
    sim.look(|state| {
        state.jobs.live_from_the_beginning(PRODUCTION, "iris-00001");
        state.jobs.held.insert("rollouts");
    });
    let (id, push) = unmeant(&mut sim, "/ship");
    assert!(sim.wait(|state| state.jobs.services[PRODUCTION].canary.is_some()));
    sim.deliver(&push);
    let command = sim.ended(&id);
    says(&sim, &command, NEXT);
    sim.look(|state| {
        let service = &state.jobs.services[PRODUCTION];
        assert_eq!((service.live.as_deref(), service.canary.is_none()), (Some("iris-00001"), true));
        assert!(state.hub.pull(1).merges.is_empty());
    });
}

#[test]
fn what_began_with_the_commit_that_was_meant_goes_on() {
    let mut sim = Sim::new();
    sim.look(|state| state.jobs.held.insert("runs"));
    let id = sim.ask(1, "author", "/build_run");
    assert!(sim.wait(|state| !state.jobs.of("runs").is_empty()));
    let push = quietly(&mut sim, NEXT);
    sim.deliver(&push);
    sim.look(|state| state.jobs.held.clear());
    let command = sim.ended(&id);
    assert_eq!((command.state, command.commit()), (State::Succeeded, HEAD), "{command:#?}");
}

#[test]
fn a_comment_that_was_taken_back_before_it_was_found_starts_nothing() {
    for instead in [None, Some("never mind"), Some("/deploy --canary 0")] {
        let mut sim = attentive();
        sim.crash();
        let sent = lost(&sim, "/build");
        let now = sim.world.time.now() + Duration::from_secs(60);
        sim.look(|state| state.hub.take_back(state.hub.asked, now, instead));
        sim.world.time.skip(Duration::from_secs(1500));
        sim.pass(Duration::from_secs(200));
        sim.look(|state| {
            assert!(state.book.commands.is_empty() && state.hub.said().is_empty(), "{instead:?}");
            assert!(state.book.knows(&sent.guid));
        });
    }
    // GitHub is asked until it says so.
    let mut sim = attentive();
    sim.crash();
    let sent = lost(&sim, "/build");
    sim.world.gate().next = vec![("comment", Fault::Refused); 2];
    sim.pass(Duration::from_secs(50));
    assert!(!sim.look(|state| state.book.knows(&sent.guid)));
    let id = only(&mut sim);
    assert_eq!(sim.ended(&id).state, State::Succeeded);
}

#[test]
fn what_was_read_counts_whatever_becomes_of_the_comment() {
    let mut sim = Sim::new();
    let id = sim.ask(1, "author", "/build");
    let now = sim.world.time.now();
    sim.look(|state| state.hub.take_back(state.hub.asked, now, None));
    assert_eq!(sim.ended(&id).state, State::Succeeded);
}
