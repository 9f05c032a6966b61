//! What can be asked of a rollout besides its beginning: a preview, a promotion, a fence, the way back.

use kfops_core::Reason;
use kfops_proto::{
    common::{Model, Reason as WireReason},
    serving::{Rollout, State, Strategy},
};
use serde_json::json;

use crate::{
    load::Load,
    models::model,
    world::{FILES, World, is_at, predict, put_source, rollout, strategy, titles},
};

fn long(canary: &[i32]) -> Strategy {
    let hold = Some(prost_types::Duration { seconds: 600, nanos: 0 });
    Strategy { hold, timeout: Some(prost_types::Duration { seconds: 900, nanos: 0 }), ..strategy(canary) }
}

fn steps(rollout: &Rollout) -> Vec<(&str, State, bool)> {
    let promoted = |text: &str| text.ends_with("promoted by request");
    rollout.steps.iter().map(|s| (s.title.as_str(), s.state(), promoted(&s.message))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_ends_the_canary_and_no_request_is_lost() {
    let mut world = World::start().await;
    world.deploy("one", "tree", strategy(&[])).await;
    let one = world.ended("one").await;
    assert_eq!(one.state(), State::Succeeded, "{:?}", one.failure);
    let load = Load::start(&one.endpoint, 4, json!([5.1, 3.5, 1.4, 0.2]));

    world.deploy("two", "deeper", long(&[10, 50, 75])).await;
    world.until("two", |r| r.steps.last().is_some_and(|s| s.title == "canary 10 %" && s.requests > 0)).await;
    for _ in 0..2 {
        world.promote("two").await.unwrap();
    }
    let two = world.ended("two").await;
    assert_eq!(two.state(), State::Succeeded, "{:?}", two.failure);
    let (done, skipped) = (State::Succeeded, State::Skipped);
    let expected = [
        ("canary 10 %", done, true),
        ("canary 50 %", skipped, true),
        ("canary 75 %", skipped, true),
        ("promote", done, false),
        ("drain", done, false),
    ];
    assert_eq!(steps(&two)[2..], expected, "{:#?}", two.steps);
    // What has succeeded is promoted already.
    assert_eq!(world.promote("two").await.unwrap().end_time, two.end_time);

    // Asked while it waits for its turn: remembered, and the proof is not skipped.
    world.deploy("three", "tree", long(&[10])).await;
    world.promote("three").await.unwrap();
    let three = world.ended("three").await;
    assert_eq!(titles(&three), ["revision", "proof", "canary 10 %", "promote", "drain"]);
    assert_eq!(steps(&three)[1..3], [("proof", done, false), ("canary 10 %", skipped, true)]);
    assert_eq!(world.inference_service().await.live_revision, "iris-00003");

    // What was undone cannot be promoted.
    world.deploy("four", "corrupt", strategy(&[10])).await;
    let four = world.ended("four").await;
    let failure = world.promote("four").await.unwrap_err();
    assert_eq!((failure.reason, failure.retryable), (Reason::RevisionNotReady, false), "{failure:?}");
    assert!(
        failure.message.contains("rollouts/four cannot be promoted: it has ended: revision iris-00004"),
        "{failure}"
    );
    assert_eq!(world.get("four").await, four);
    assert_eq!(world.promote("none").await.unwrap_err().reason, Reason::NotFound);
    let seen = load.stop().await;
    assert_eq!(seen.failed, 0, "{:?}", seen.errors);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preview_renders_and_leaves_nothing() {
    const FUNCTION: &str = "def inference_service_instance(name, namespace, storage_uri, canary_traffic_percent=None):\n    return {\"apiVersion\": \"serving.kserve.io/v1beta1\", \"kind\": \"InferenceService\", \"metadata\": {\"name\": name, \"namespace\": namespace}, \"spec\": {\"predictor\": {\"sklearn\": {\"storageUri\": storage_uri}}}}\n";
    let mut world = World::start().await;
    let files: Vec<(&str, &str)> =
        FILES.iter().copied().chain([("deploy.py", FUNCTION), ("bad.yaml", "{{ x }}")]).collect();
    let source = put_source(world.path(), &files).await;
    let asked = rollout(source, model("tree"), strategy(&[10]));

    let preview = world.preview(asked.clone()).await.unwrap();
    assert_eq!((preview.state(), preview.failure.clone()), (State::Pending, None));
    assert!(
        preview.manifest.contains("kind: InferenceService") && preview.manifest.contains("/tree"),
        "{}",
        preview.manifest
    );
    assert!(preview.endpoint.ends_with("/serving/team/iris/v1/models/iris:predict"), "{}", preview.endpoint);
    assert!(preview.revision.is_empty() && preview.previous_revision.is_empty() && preview.steps.is_empty());

    let legacy = world.preview(Rollout { template_path: "deploy.py".into(), ..asked.clone() }).await.unwrap();
    assert!(legacy.manifest.contains("sklearn:") && legacy.manifest.contains("/tree"), "{}", legacy.manifest);
    let failure = world.preview(Rollout { template_path: "bad.yaml".into(), ..asked.clone() }).await.unwrap_err();
    assert_eq!(failure.reason, Reason::TemplateInvalid, "{failure:?}");
    let gone = Model { uri: format!("file://{}/gone", world.path().display()), ..model("tree") };
    let preview = world.preview(Rollout { model: Some(gone), ..asked.clone() }).await.unwrap();
    assert_eq!(preview.failure.unwrap().reason(), WireReason::ModelMissing);
    assert!(preview.manifest.contains("/gone"));

    let request = kfops_proto::serving::ListRolloutsRequest::default();
    assert!(world.client.list_rollouts(request).await.unwrap().into_inner().rollouts.is_empty());
    let request = kfops_proto::serving::ListInferenceServicesRequest::default();
    assert!(world.client.list_inference_services(request).await.unwrap().into_inner().inference_services.is_empty());
    let left = std::fs::read_dir(world.path().join("state")).unwrap().flatten().map(|e| e.file_name());
    let left: Vec<_> = left.filter(|n| n.to_string_lossy().starts_with("source-") || n == "servers").collect();
    assert!(left.is_empty(), "{left:?}");

    // The real one has the same manifest, and so has its revision.
    let rendered = world.preview(asked.clone()).await.unwrap().manifest;
    world.create("one", asked.clone()).await.unwrap();
    let one = world.ended("one").await;
    assert_eq!((one.state(), &one.manifest), (State::Succeeded, &rendered), "{:?}", one.failure);
    assert_eq!(world.inference_service().await.revisions[0].manifest, rendered);
    assert_eq!(world.preview(asked).await.unwrap().previous_revision, "iris-00001");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_fence_moves_no_traffic() {
    let mut world = World::start().await;
    let source = put_source(world.path(), FILES).await;
    let with = |fence: i64, name: &str, strategy: Strategy| Rollout {
        fence,
        ..rollout(source.clone(), model(name), strategy)
    };
    world.create("one", with(5, "tree", strategy(&[]))).await.unwrap();
    assert_eq!(world.ended("one").await.state(), State::Succeeded);
    let mut world = world.restart().await;

    let second = with(6, "deeper", long(&[50]));
    world.create("two", second.clone()).await.unwrap();
    world.until("two", |r| r.steps.last().is_some_and(|s| s.title == "canary 50 %" && s.requests > 0)).await;
    // An older fence is refused, for good; the restart has not forgotten it.
    let failure = world.create("old", with(4, "tree", strategy(&[]))).await.unwrap_err();
    assert_eq!((failure.reason, failure.retryable), (Reason::TargetLocked, false), "{failure:?}");
    assert!(failure.message.contains("another command holds the lock"), "{failure}");
    assert_eq!(world.preview(with(4, "tree", strategy(&[]))).await.unwrap_err().reason, Reason::TargetLocked);
    // Without a fence there is nothing to compare.
    world.create("none", with(0, "tree", strategy(&[]))).await.unwrap();
    world.cancel("none").await;

    // A newer one does not end what is under way…
    world.create("three", with(7, "tree", strategy(&[]))).await.unwrap();
    let again = world.create("two", second).await.unwrap();
    assert!(again.state() == State::Running && is_at(&again, "canary 50 %"), "{again:#?}");
    assert_eq!(world.get("three").await.state(), State::Pending);
    // … but that gets no more traffic.
    world.promote("two").await.unwrap();
    let two = world.ended("two").await;
    let failure = two.failure.clone().unwrap();
    assert_eq!((two.state(), failure.reason()), (State::Failed, WireReason::Superseded), "{failure:?}");
    assert!(failure.message.contains("fence 7") && failure.message.ends_with("Live stays iris-00001"), "{failure:?}");
    let three = world.ended("three").await;
    assert_eq!(
        (three.state(), three.previous_revision.as_str()),
        (State::Succeeded, "iris-00001"),
        "{:?}",
        three.failure
    );
    assert_eq!(world.inference_service().await.live_revision, three.revision);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_back_is_a_rollout_of_the_retired_revision() {
    let mut world = World::start().await;
    let source = put_source(world.path(), FILES).await;
    // A model of its own, so that it can go.
    let kept = world.path().join("models/r-1");
    std::fs::create_dir_all(&kept).unwrap();
    let tree = model("tree");
    let from = std::path::Path::new(tree.uri.strip_prefix("file://").unwrap()).join("model.joblib");
    std::fs::copy(&from, kept.join("model.joblib")).unwrap();
    let first = Model { uri: format!("file://{}", kept.display()), ..tree };
    world.create("one", rollout(source.clone(), first, strategy(&[]))).await.unwrap();
    assert_eq!(world.ended("one").await.state(), State::Succeeded);
    for (id, name, expected) in [("bad", "corrupt", State::Failed), ("two", "deeper", State::Succeeded)] {
        world.deploy(id, name, strategy(&[])).await;
        assert_eq!(world.ended(id).await.state(), expected);
    }

    let service = world.inference_service().await;
    let good = service.revisions.iter().rev().find(|r| r.state == "retired").unwrap();
    assert_eq!((good.name.as_str(), good.rollout.as_str()), ("iris-00001", "rollouts/one"));
    assert_eq!((good.run.as_str(), good.commit.as_str()), ("runs/r-1", "3f2c1e7"));
    let old = world.get("one").await;
    assert_eq!(good.model, old.model);
    let back = Rollout {
        inference_service: old.inference_service,
        source: old.source,
        template_path: old.template_path,
        sample_path: old.sample_path,
        golden_path: old.golden_path,
        model: old.model,
        run: old.run,
        ..Rollout::default()
    };
    world.create("back", back.clone()).await.unwrap();
    let done = world.ended("back").await;
    assert_eq!((done.state(), done.revision.as_str()), (State::Succeeded, "iris-00004"), "{:?}", done.failure);
    let (status, revision, _) = predict(&done.endpoint, json!({"instances": [[5.1, 3.5, 1.4, 0.2]]})).await;
    assert_eq!((status, revision.as_str()), (200, "iris-00004"));

    world.deploy("three", "deeper", strategy(&[])).await;
    assert_eq!(world.ended("three").await.state(), State::Succeeded);
    std::fs::remove_dir_all(&kept).unwrap();
    world.create("back-again", back).await.unwrap();
    let failed = world.ended("back-again").await;
    let failure = failed.failure.unwrap();
    assert_eq!((failed.state, failure.reason()), (State::Failed.into(), WireReason::ModelMissing), "{failure:?}");
    assert!(failure.message.contains("there is no model at file://"), "{failure:?}");
    assert!(failure.message.ends_with("Live stays iris-00005"), "{failure:?}");
    assert!(failure.action.contains("run again"), "{failure:?}");
    assert_eq!(world.inference_service().await.live_revision, "iris-00005");
    world.stop().await;
}
