//! A cancel reaches whatever a rollout is at, and what was live is restored.

use std::time::{Duration, Instant};

use kfops_proto::{
    common::Reason,
    serving::{Rollout, State},
};
use serde_json::json;

use crate::{
    load::Load,
    world::{World, eventually, is_at, predict, strategy},
};

/// Generous: the machine of a test may be busy. The times are printed.
const DEADLINE: Duration = Duration::from_secs(30);

async fn cancel(world: &mut World, id: &str, at: &str) -> Rollout {
    let began = Instant::now();
    world.cancel(id).await;
    let ended = tokio::time::timeout(DEADLINE, world.ended(id)).await.unwrap();
    println!("canceled {at}: ended after {:.2} s", began.elapsed().as_secs_f64());
    ended
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_reaches_every_stage_and_restores() {
    let mut world = World::start().await;
    world.deploy("live", "slow", strategy(&[])).await;
    let live = world.ended("live").await;
    assert_eq!(live.state(), State::Succeeded, "{:?}", live.failure);
    let load = Load::start(&live.endpoint, 2, json!([5.1, 3.5, 1.4, 0.2]));

    let mut long = strategy(&[50]);
    long.hold = Some(prost_types::Duration { seconds: 600, nanos: 0 });
    long.timeout = Some(prost_types::Duration { seconds: 900, nanos: 0 });
    // Its model server never becomes ready; never answers; is watched.
    let cases = [("start", "sleepy", "revision"), ("proof", "stuck", "proof"), ("canary", "tree", "canary 50 %")];
    for (id, model, step) in cases {
        world.deploy(id, model, long.clone()).await;
        let at = world.until(id, |r| is_at(r, step) && !r.revision.is_empty()).await;
        assert!(is_at(&at, step), "{at:#?}");
        if id == "canary" {
            // Until the share is in force and something was seen.
            world.until(id, |r| r.steps.last().is_some_and(|s| s.requests > 0)).await;
        }
        let ended = cancel(&mut world, id, &format!("at {step}")).await;
        assert_eq!(ended.state(), State::Canceled, "{ended:#?}");
        let failure = ended.failure.clone().unwrap();
        assert_eq!(failure.reason(), Reason::Canceled);
        assert!(failure.message.ends_with("Live stays iris-00001"), "{}", failure.message);
        let service = world.inference_service().await;
        assert_eq!(service.live_revision, "iris-00001");
        let shares: Vec<i32> = service.revisions.iter().map(|r| r.percent).collect();
        assert_eq!(shares.iter().sum::<i32>(), 100, "{:?}", service.revisions);
        assert_eq!(shares[0], 100);
        let (status, revision, _) = predict(&live.endpoint, json!({"instances": [[5.1, 3.5, 1.4, 0.2]]})).await;
        assert_eq!((status, revision.as_str()), (200, "iris-00001"));
        // Its server goes too, after the rollout has ended.
        let pid = world.path().join("state/servers/team").join(&ended.revision).join("pid.json");
        eventually("the canceled revision's server has ended", async || !pid.exists()).await;
        // A second cancel changes nothing.
        assert_eq!(world.cancel(id).await.end_time, ended.end_time);
    }
    let seen = load.stop().await;
    assert_eq!(seen.failed, 0, "{:?}", seen.errors);

    // The promotion came through: too late. The old revision takes its time for what it has begun.
    let load = Load::start(&live.endpoint, 4, json!([5.1, 3.5, 1.4, 0.2]));
    world.deploy("late", "tree", strategy(&[])).await;
    world.until("late", |r| is_at(r, "drain")).await;
    let ended = cancel(&mut world, "late", "while the old one drains").await;
    assert_eq!(ended.state(), State::Succeeded, "{:?}", ended.failure);
    assert_eq!(world.inference_service().await.live_revision, ended.revision);
    let seen = load.stop().await;
    assert_eq!(seen.failed, 0, "{:?}", seen.errors);
    world.stop().await;
}
