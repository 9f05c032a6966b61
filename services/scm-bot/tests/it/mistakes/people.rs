//! Mistakes about people and what they write.

use std::time::{Duration, Instant};

use kfops_core::Reason;
use kfops_proto::command as pb;
use kfops_scm_bot::{command::State, ports::Work};
use serde_json::json;

use crate::{
    sim::{
        Sim,
        hub::{BOT, HEAD, Sent},
    },
    stories::reason,
    world::{World, comment_payload},
};

#[test]
fn a_comment_is_never_a_script() {
    let mut sim = Sim::new();
    let hostile = r#"'; touch pwned; "$(touch pwned)" `touch pwned` ${IFS} && rm -rf /"#;
    // As it is, it is no value of one argument, and so nothing.
    let refused = sim.told(1, "author", &format!("/build_run --set name={hostile}"));
    assert_eq!((refused.state, reason(&refused)), (State::Refused, Reason::InvalidArgument));
    assert!(sim.look(|state| state.jobs.begun.is_empty()));
    let quoted = shell_words::quote(hostile);
    let ran = sim.told(1, "author", &format!("/build_run --set name={quoted}"));
    assert_eq!(ran.state, State::Succeeded, "{ran:#?}");
    sim.look(|state| {
        let Work::Run { arguments, .. } = &state.jobs.of("runs")[0].work else { panic!("not a run") };
        assert_eq!(arguments["name"], json!(hostile));
    });
}

/// The webhook with another payload.
fn changed(sim: &mut Sim, body: &str, change: impl FnOnce(&mut serde_json::Value)) -> Sent {
    let now = sim.world.time.now();
    let mut sent = sim.look(|state| state.hub.comment(1, "author", body, now));
    let mut payload = serde_json::from_slice(&sent.payload).unwrap();
    change(&mut payload);
    sent.payload = serde_json::to_vec(&payload).unwrap().into();
    sent
}

#[test]
fn edited_comments_and_plain_issues_start_nothing() {
    let mut sim = Sim::new();
    let changes: [fn(&mut serde_json::Value); 3] = [
        |payload| {
            payload["action"] = "edited".into();
            payload["changes"] = json!({"body": {"from": "looks good"}});
        },
        |payload| payload["action"] = "deleted".into(),
        |payload| drop(payload["issue"].as_object_mut().unwrap().remove("pull_request")),
    ];
    for change in changes {
        let sent = changed(&mut sim, "/ship", change);
        assert!(sim.deliver(&sent).commands.is_empty());
    }
    sim.pass(Duration::from_secs(60));
    sim.look(|state| {
        assert!(state.book.commands.is_empty() && state.jobs.begun.is_empty());
        assert!(state.hub.said().is_empty() && state.hub.calls.is_empty(), "{:?}", state.hub.calls);
    });
    // What was written once counts, whatever becomes of it later.
    let asked = sim.ask(1, "author", "/build");
    let edited = changed(&mut sim, "/ship", |payload| payload["action"] = "edited".into());
    sim.deliver(&edited);
    assert_eq!(sim.ended(&asked).verb.as_str(), "build");
    assert_eq!(sim.look(|state| state.book.commands.len()), 1);
}

#[test]
fn hidden_variables_are_not_believed() {
    let mut sim = Sim::new();
    let other = sim.told(2, "mate", "/build_run");
    let (run, version) = (other.lineage.run.unwrap(), other.lineage.version.unwrap());
    let hidden = format!("Nice!\n\n<!-- KFOPS_VERSION_ID={version} -->\n<!-- KFOPS_RUN_ID={run} -->");
    for user in ["stranger", "author", BOT] {
        assert!(sim.comment(1, user, &hidden).is_empty());
    }
    assert_eq!(reason(&sim.told(1, "author", "/deploy")), Reason::NoRun);
    assert_eq!(reason(&sim.told(1, "author", "/run")), Reason::NoVersion);
    // Nor do they take the place of what is known.
    let own = sim.told(1, "author", "/build_run");
    sim.comment(1, "stranger", &hidden);
    let deployed = sim.told(1, "author", "/deploy");
    assert_eq!(deployed.state, State::Succeeded, "{deployed:#?}");
    assert!(deployed.lineage.run == own.lineage.run && deployed.lineage.run.as_ref() != Some(&run));
}

#[test]
fn a_run_id_with_two_equals_signs_is_answered() {
    let mut sim = Sim::new();
    let refused = sim.told(1, "author", "/deploy --run-id=a=b");
    assert_eq!((refused.state, reason(&refused)), (State::Refused, Reason::InvalidArgument));
    let said = sim.look(|state| state.hub.said().pop().unwrap());
    assert!(said.contains("**/deploy refused:**"), "{said}");
    assert_eq!(sim.told(1, "author", "/build_run --set name=a=b").state, State::Succeeded);
    assert_eq!(sim.lives, 1);
}

/// The ledger is the record, and the API shows it: who asked for what, when, of which commit, what was made of it, and
/// who ended it.
#[tokio::test]
async fn who_did_what_is_on_record() {
    let world = World::new().await;
    world.sim.with(|state| state.jobs.held.insert("runs"));
    let refused = world.deliver("g-1", "issue_comment", comment_payload(1, 1, "stranger", "/deploy --force"), None);
    let refused = refused.await.unwrap().commands.remove(0);
    world.ended(&refused).await;
    let ship = world.deliver("g-2", "issue_comment", comment_payload(1, 2, "author", "/ship --canary 5"), None).await;
    let ship = ship.unwrap().commands.remove(0);
    let deadline = Instant::now() + Duration::from_secs(30);
    while world.sim.with(|state| state.jobs.of("runs").is_empty()) {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let cancel = world.deliver("g-3", "issue_comment", comment_payload(1, 3, "boss", "/cancel"), None).await;
    let cancel = cancel.unwrap().commands.remove(0);
    world.ended(&cancel).await;
    world.ended(&ship).await;
    let request = pb::ListCommandsRequest { repository: "o/r".into(), pull_request: 1, ..Default::default() };
    let listed = world.commands().list_commands(request).await.unwrap().into_inner().commands;
    let names: Vec<_> = listed.iter().map(|command| &command.name).collect();
    assert_eq!(names, [&cancel, &ship, &refused]);
    for (command, actor, arguments, state, comment) in [
        (&listed[0], "boss", &[][..], pb::State::Succeeded, 3),
        (&listed[1], "author", &["--canary", "5"][..], pb::State::Canceled, 2),
        (&listed[2], "stranger", &["--force"][..], pb::State::Refused, 1),
    ] {
        assert_eq!((command.actor.as_str(), command.state(), command.comment_id), (actor, state, comment));
        assert!(command.arguments == arguments && command.create_time.is_some() && command.end_time.is_some());
    }
    let ship = &listed[1];
    assert_eq!((ship.commit.as_str(), ship.pull_request), (HEAD, 1));
    assert!(ship.failure.as_ref().unwrap().message.contains("@boss wrote /cancel"), "{ship:#?}");
    assert!(ship.steps.iter().any(|step| step.title == "run" && step.start_time.is_some()));
    assert!(!ship.trace_id.is_empty() && ship.lineage.as_ref().unwrap().images.len() == 2);
    assert!(listed[2].failure.as_ref().unwrap().message.contains("stranger has read permission"));
}
