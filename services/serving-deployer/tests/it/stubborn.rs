//! A cluster that refuses, and people who change their minds, in the test cluster.

use std::time::{Duration, Instant};

use kfops_proto::serving::{CancelRolloutRequest, GetInferenceServiceRequest, PromoteRolloutRequest, Rollout, State};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::{
    cluster::{create, ended, settled, started},
    load::Load,
    place::Place,
    world::{SAMPLE, TEMPLATE, strategy, until},
};

const INSTANCE: [f64; 4] = [5.1, 3.5, 1.4, 0.2];

/// A canary that would be watched for ten minutes.
fn long() -> kfops_proto::serving::Strategy {
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    kfops_proto::serving::Strategy { hold: seconds(600), timeout: seconds(900), ..strategy(&[30]) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_a_canary_is_cancelled_and_another_promoted_without_loss() {
    let Some(place) = Place::new("minds").await else { return };
    let (mut process, _) = started(&place).await;
    create(&mut process, "one", place.rollout("tree", strategy(&[])).await).await;
    let one = ended(&mut process, "one").await;
    assert_eq!(one.state(), State::Succeeded, "{:?}", one.failure);
    let load = Load::start_as(&one.endpoint, 4, json!(INSTANCE), Some(&place.token));
    let seen = |r: &Rollout| r.steps.last().is_some_and(|step| step.title == "canary 30 %" && step.requests > 0);

    create(&mut process, "two", place.rollout("deeper", long()).await).await;
    until(&mut process.client, "two", seen).await;
    let began = Instant::now();
    process.client.cancel_rollout(CancelRolloutRequest { name: "rollouts/two".into() }).await.unwrap();
    let two = ended(&mut process, "two").await;
    println!("canceled after {:.1} s", began.elapsed().as_secs_f64());
    assert_eq!(two.state(), State::Canceled, "{:?}", two.failure);
    let (status, revision, _) = place.predict(&one.endpoint, json!(INSTANCE)).await;
    assert_eq!((status, revision.as_str()), (200, "iris-00001"));
    settled(&place, "tree").await;

    create(&mut process, "three", place.rollout("deeper", long()).await).await;
    until(&mut process.client, "three", seen).await;
    let began = Instant::now();
    process.client.promote_rollout(PromoteRolloutRequest { name: "rollouts/three".into() }).await.unwrap();
    let three = ended(&mut process, "three").await;
    println!("promoted after {:.1} s", began.elapsed().as_secs_f64());
    assert_eq!(three.state(), State::Succeeded, "{:?}", three.failure);
    let (status, revision, _) = place.predict(&one.endpoint, json!(INSTANCE)).await;
    assert_eq!((status, revision.as_str()), (200, "iris-00003"));
    settled(&place, "deeper").await;
    let seen = load.stop().await;
    println!("sent {}, failed {}, by revision {:?}", seen.sent, seen.failed, seen.revisions);
    assert_eq!(seen.failed, 0, "{:?}", &seen.errors[..seen.errors.len().min(5)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_refusals_are_passed_on_in_their_own_words() {
    let Some(place) = Place::new("refuses").await else { return };
    let (mut process, _) = started(&place).await;
    create(&mut process, "one", place.rollout("tree", strategy(&[])).await).await;
    assert_eq!(ended(&mut process, "one").await.state(), State::Succeeded);
    // KServe's own webhook.
    let replicas = TEMPLATE.replace("predictor: {", "predictor: {minReplicas: 5, maxReplicas: 2, ");
    // As the API server checks it against KServe's schema.
    let schema = TEMPLATE.replace("predictor: {", "predictor: {minReplicas: many, ");
    // Refused when the pod is made: there may be one, that of the live revision.
    let quota = json!({"metadata": {"name": "one"}, "spec": {"hard": {"pods": "1"}}});
    place.apply(("", "v1", "ResourceQuota", "resourcequotas"), quota).await;
    let cases = [
        ("replicas", replicas.as_str(), "admission webhook"),
        ("schema", schema.as_str(), "minReplicas"),
        ("quota", TEMPLATE, "exceeded quota"),
    ];
    for (id, template, says) in cases {
        let files = [("serving/template.yaml", template), ("serving/sample.json", SAMPLE)];
        let rollout = Rollout { golden_path: String::new(), ..place.rollout_of(&files, "tree", strategy(&[50])).await };
        let began = Instant::now();
        create(&mut process, id, rollout).await;
        let failure = ended(&mut process, id).await.failure.unwrap();
        println!("{id} after {:.1} s: {}", began.elapsed().as_secs_f64(), failure.message);
        assert!(failure.message.contains(says), "{id}: {}", failure.message);
        assert!(failure.message.contains("Live stays iris-00001"), "{id}: {}", failure.message);
    }
    let (status, revision, _) = place.predict(&place.endpoint(), json!(INSTANCE)).await;
    assert_eq!((status, revision.as_str()), (200, "iris-00001"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_a_deletion_that_hangs_is_named() {
    let Some(place) = Place::new("hangs").await else { return };
    let (mut process, _) = started(&place).await;
    create(&mut process, "one", place.rollout("tree", strategy(&[])).await).await;
    let one = ended(&mut process, "one").await;
    assert_eq!(one.state(), State::Succeeded, "{:?}", one.failure);
    let all = place.inference_services();
    let finalizers = |add: bool| {
        let list = if add { json!(["kfops.example.com/hang"]) } else { json!([]) };
        json!({"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService",
            "metadata": {"name": "iris", "finalizers": list}})
    };
    let hold = PatchParams::apply("holder").force();
    all.patch("iris", &hold, &Patch::Apply(finalizers(true))).await.unwrap();
    all.delete("iris", &DeleteParams::background()).await.unwrap();
    let request = GetInferenceServiceRequest { name: place.service() };
    let mut notices = Vec::new();
    place
        .until("the deletion is noticed", 20, async || {
            notices = process.client.get_inference_service(request.clone()).await.unwrap().into_inner().notices;
            notices.iter().any(|notice| notice.contains("kfops.example.com/hang"))
        })
        .await;
    println!("{notices:?}");
    let (status, revision, _) = place.predict(&one.endpoint, json!(INSTANCE)).await;
    assert_eq!((status, revision.as_str()), (200, "iris-00001"), "it answers until its finalizers are done");

    let began = Instant::now();
    create(&mut process, "two", place.rollout("deeper", strategy(&[])).await).await;
    let failure = ended(&mut process, "two").await.failure.unwrap();
    println!("after {:.1} s: {}", began.elapsed().as_secs_f64(), failure.message);
    assert!(failure.message.contains("is being deleted since"), "{}", failure.message);
    assert!(failure.message.contains("kfops.example.com/hang"), "{}", failure.message);
    assert!(began.elapsed() < Duration::from_secs(60));

    all.patch("iris", &hold, &Patch::Apply(finalizers(false))).await.unwrap();
    place.until("it is gone", 60, async || place.served().await.is_empty()).await;
    create(&mut process, "three", place.rollout("deeper", strategy(&[])).await).await;
    let three = ended(&mut process, "three").await;
    assert_eq!(three.state(), State::Succeeded, "{:?}", three.failure);
    let (status, revision, _) = place.predict(&one.endpoint, json!(INSTANCE)).await;
    assert_eq!((status, revision.as_str()), (200, "iris-00003"));
    settled(&place, "deeper").await;
}
