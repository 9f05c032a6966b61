//! Whatever happens to the process, the outside world looks as if nothing had happened.

use kfops_proto::command::State;

use crate::world::World;

/// What the outside world saw of a /ship that went well.
fn assert_once(world: &World, when: &str) {
    let begun = world.workers.with(|data| data.begun.clone());
    let kinds: Vec<_> = begun.iter().map(|name| name.split('/').next().unwrap()).collect();
    assert_eq!(kinds, ["builds", "pipelineVersions", "runs", "rollouts"], "{when}");
    world.github.with(|data| {
        assert_eq!(data.comments.len(), 1, "{when}: comments");
        assert_eq!(data.checks.len(), 1, "{when}: checks");
        assert_eq!(data.checks[0]["conclusion"], "success", "{when}");
        assert_eq!(data.pulls[&1].merges, 1, "{when}: merges");
        assert!(data.pulls[&1].labels.contains("Deployed-to-production"), "{when}");
        assert!(data.comments[0].body.contains("done in"), "{when}: {}", data.comments[0].body);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_request_it_goes_on() {
    // How many requests a /ship makes when nobody kills anything.
    let mut calm = World::new().await;
    assert_eq!(calm.told(1, "author", "/ship").await.state(), State::Succeeded);
    assert_once(&calm, "calm");
    let events = calm.events.count();
    assert!(events > 10);
    drop(calm);
    for event in 1..=events {
        for before in [true, false] {
            let when = format!("killed {} request {event}", if before { "before" } else { "after" });
            let mut world = World::new().await;
            world.events.kill_at(event, before);
            let name = world.comment(1, "author", "/ship").await.remove(0);
            world.events.reached().await;
            world.kill().await;
            world.events.spare();
            world.start().await;
            let command = world.ended(&name).await;
            assert_eq!(command.state(), State::Succeeded, "{when}: {command:#?}");
            assert_once(&world, &when);
        }
    }
}

#[tokio::test]
async fn killed_while_a_worker_works_it_watches_on() {
    for collection in ["builds", "runs", "rollouts"] {
        let mut world = World::new().await;
        world.workers.with(|data| data.held.insert(collection));
        let name = world.comment(1, "author", "/ship").await.remove(0);
        let prefix = format!("{collection}/");
        world.until(&name, |command| command.steps.iter().any(|step| step.resource.starts_with(&prefix))).await;
        world.kill().await;
        world.workers.with(|data| data.held.clear());
        world.start().await;
        assert_eq!(world.ended(&name).await.state(), State::Succeeded, "{collection}");
        assert_once(&world, collection);
    }
}

#[tokio::test]
async fn stopped_in_order_it_goes_on_at_the_next_start() {
    let mut world = World::new().await;
    world.workers.with(|data| data.held.insert("runs"));
    let name = world.comment(1, "author", "/ship").await.remove(0);
    world.until(&name, |command| command.steps.iter().any(|step| step.title == "task train")).await;
    world.stop().await;
    assert!(world.state_folder().join("ledger.db").exists());
    world.workers.with(|data| data.held.clear());
    world.start().await;
    assert_eq!(world.ended(&name).await.state(), State::Succeeded);
    assert_once(&world, "stopped");
}

#[tokio::test]
async fn an_answer_that_is_lost_repeats_nothing() {
    for lost in ["POST /repos/o/r/issues/1/comments", "POST /repos/o/r/check-runs", "PUT /repos/o/r/pulls/1/merge"] {
        let mut world = World::new().await;
        world.github.with(|data| data.garble = Some(lost.into()));
        let command = world.told(1, "author", "/ship").await;
        assert_eq!(command.state(), State::Succeeded, "{lost}: {command:#?}");
        assert_once(&world, lost);
    }
}
