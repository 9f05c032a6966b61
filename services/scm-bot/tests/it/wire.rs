//! The two gRPC services: deliveries and commands.

use futures::StreamExt as _;
use kfops_core::Reason;
use kfops_proto::command::{self as pb, State, Verb};
use kfops_rpc::failure_of;

use crate::{
    sim::{
        gate::{Port, Weather},
        hub::DAY,
        rng::Rng,
    },
    world::{World, comment_payload},
};

#[tokio::test]
async fn a_delivery_counts_once() {
    let world = World::new().await;
    let payload = comment_payload(1, 7, "author", "/build");
    let first = world.deliver("g-1", "issue_comment", payload.clone(), None).await.unwrap();
    assert_eq!((first.commands.len(), first.duplicate), (1, false));
    for (id, payload) in
        [("g-1", payload.clone()), ("g-1", comment_payload(1, 8, "author", "/build")), ("g-2", payload)]
    {
        let again = world.deliver(id, "issue_comment", payload, None).await.unwrap();
        assert_eq!((again.commands.len(), again.duplicate), (0, true), "{id}");
    }
    assert_eq!(world.ended(&first.commands[0]).await.state(), State::Succeeded);
    assert_eq!(world.sim.with(|state| state.jobs.of("builds").len()), 1);
}

#[tokio::test]
async fn bad_deliveries_are_refused_and_others_forgotten() {
    let world = World::new().await;
    for (event, payload) in [("issue_comment", &b"{"[..]), ("issue_comment", b"{}"), ("push", b"nonsense")] {
        let status = world.deliver("g-1", event, payload.to_vec(), None).await.unwrap_err();
        assert_eq!(failure_of(&status).reason, Reason::InvalidArgument, "{event}");
    }
    let accepted = world.deliver("g-1", "push", b"{}".to_vec(), None).await.unwrap();
    assert!(accepted.commands.is_empty() && !accepted.duplicate);
    // A large payload gets through; GitHub's cap is the gateway's to keep.
    let large = comment_payload(1, 1, "author", &"x".repeat(20 << 20));
    assert!(world.deliver("g-2", "issue_comment", large, None).await.unwrap().commands.is_empty());
}

fn create(id: &str, verb: Verb, actor: &str) -> tonic::Request<pb::CreateCommandRequest> {
    let command = pb::Command {
        verb: verb.into(),
        repository: "o/r".into(),
        pull_request: 1,
        arguments: Vec::new(),
        ..Default::default()
    };
    let mut request = tonic::Request::new(pb::CreateCommandRequest { command: Some(command), command_id: id.into() });
    if !actor.is_empty() {
        request.metadata_mut().insert("kfops-actor", actor.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn commands_come_through_the_api_too() {
    let world = World::new().await;
    let mut client = world.commands();
    let created = client.create_command(create("my-build", Verb::Build, "author")).await.unwrap().into_inner();
    assert_eq!(created.name, "commands/my-build");
    let again = client.create_command(create("my-build", Verb::Build, "author")).await.unwrap().into_inner();
    assert_eq!(again.uid, created.uid);
    for (request, reason) in [
        (create("my-build", Verb::Ship, "author"), Reason::AlreadyExists),
        (create("other", Verb::Build, ""), Reason::Unauthenticated),
        (create("Not An Id", Verb::Build, "author"), Reason::InvalidArgument),
        (create("other", Verb::Unspecified, "author"), Reason::InvalidArgument),
    ] {
        assert_eq!(failure_of(&client.create_command(request).await.unwrap_err()).reason, reason);
    }
    // The same gate holds.
    client.create_command(create("foreign", Verb::Build, "stranger")).await.unwrap();
    assert_eq!(world.ended("commands/foreign").await.state(), State::Refused);
    let listed = client
        .list_commands(pb::ListCommandsRequest { repository: "o/r".into(), pull_request: 1, ..Default::default() })
        .await
        .unwrap()
        .into_inner();
    let names: Vec<_> = listed.commands.iter().map(|command| command.name.as_str()).collect();
    assert_eq!(names, ["commands/foreign", "commands/my-build"]);
}

#[tokio::test]
async fn a_watch_ends_with_the_terminal_snapshot() {
    let world = World::new().await;
    let mut client = world.commands();
    client.create_command(create("my-build", Verb::Build, "author")).await.unwrap();
    let request = pb::WatchCommandRequest { name: "commands/my-build".into() };
    let snapshots: Vec<_> = client.watch_command(request.clone()).await.unwrap().into_inner().collect().await;
    let last = snapshots.last().unwrap().as_ref().unwrap();
    assert_eq!(last.state(), State::Succeeded);
    assert!(snapshots.len() > 1);
    let after: Vec<_> = client.watch_command(request).await.unwrap().into_inner().collect().await;
    assert_eq!(after.len(), 1);
    let missing = client.watch_command(pb::WatchCommandRequest { name: "commands/none".into() }).await.unwrap_err();
    assert_eq!(failure_of(&missing).reason, Reason::NotFound);
}

#[tokio::test]
async fn logs_are_read_in_pieces() {
    let world = World::new().await;
    world.store.put("logs/builds/x/trainer.log", "x".repeat(100_000)).await.unwrap();
    let accepted =
        world.deliver("g-1", "issue_comment", comment_payload(1, 1, "author", "/build"), None).await.unwrap();
    let command = world.ended(&accepted.commands[0]).await;
    let request = pb::ReadCommandLogRequest { name: command.name.clone(), step: "image trainer".into() };
    let pieces: Vec<_> = world.commands().read_command_log(request).await.unwrap().into_inner().collect().await;
    let sizes: Vec<_> = pieces.into_iter().map(|piece| piece.unwrap().data.len()).collect();
    assert_eq!(sizes, [65_536, 34_464]);
    let request = pb::ReadCommandLogRequest { name: command.name, step: "gate".into() };
    assert_eq!(failure_of(&world.commands().read_command_log(request).await.unwrap_err()).reason, Reason::NotFound);
}

#[tokio::test]
async fn repositories_that_are_not_allowed_are_refused() {
    let world = World::set(None, None, |settings| settings.github.allow = vec!["team/*".into()]).await;
    let status = world.commands().create_command(create("my-build", Verb::Build, "author")).await.unwrap_err();
    let failure = failure_of(&status);
    assert_eq!(failure.reason, Reason::PolicyRefused);
    assert!(failure.action.contains("github.allow"), "{failure:?}");
    assert!(world.sim.with(|state| state.hub.calls.is_empty()));
}

#[tokio::test]
async fn ones_own_command_is_canceled_while_github_is_away() {
    let world = World::new().await;
    world.sim.with(|state| state.jobs.held.insert("builds"));
    let mut client = world.commands();
    client.create_command(create("my-build", Verb::Build, "author")).await.unwrap();
    let mut watch = client.watch_command(pb::WatchCommandRequest { name: "commands/my-build".into() }).await.unwrap();
    while watch.get_mut().message().await.unwrap().unwrap().state() != State::Running {}
    let (rng, away) = (Rng::new(1), vec![(Port::GitHub, std::time::Duration::ZERO, DAY)]);
    world.sim.gate().weather = Some(Weather { rng, ledger: 6, refused: 0, lost: 0, hangs: 0, away, until: DAY });
    let cancel = |actor: &str| {
        let mut request = tonic::Request::new(pb::CancelCommandRequest { name: "commands/my-build".into() });
        request.metadata_mut().insert("kfops-actor", actor.parse().unwrap());
        request
    };
    let status = client.cancel_command(cancel("boss")).await.unwrap_err();
    assert_eq!(failure_of(&status).reason, Reason::GithubUnavailable);
    client.cancel_command(cancel("author")).await.unwrap();
    world.sim.gate().weather = None;
    assert_eq!(world.ended("commands/my-build").await.state(), State::Canceled);
}
