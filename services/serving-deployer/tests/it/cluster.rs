//! Rollouts in the test cluster: KServe in Standard mode behind Istio's ingress gateway.

use std::time::Instant;

use kfops_proto::serving::{CreateRolloutRequest, GetInferenceServiceRequest, Rollout, State};
use serde_json::json;

use crate::{
    load::Load,
    place::Place,
    process::Process,
    world::{is_at, strategy, titles, until},
};

pub(crate) async fn create(process: &mut Process, id: &str, rollout: Rollout) {
    let request = CreateRolloutRequest { rollout: Some(rollout), rollout_id: id.into(), ..Default::default() };
    process.client.create_rollout(request).await.unwrap();
}

pub(crate) async fn ended(process: &mut Process, id: &str) -> Rollout {
    until(&mut process.client, id, |_| false).await
}

pub(crate) async fn started(place: &Place) -> (Process, kfops_serving_deployer::Settings) {
    let settings = place.settings();
    let mut process = Process::start(&settings, &place.folder.path().join("settings.yaml"));
    process.up().await;
    (process, settings)
}

/// The one of the service's name has the model, and it is alone.
pub(crate) async fn settled(place: &Place, model: &str) {
    let expected = vec![("iris".to_owned(), format!("s3://isvc-tests/{model}"))];
    place
        .until("served by the InferenceService of the service's name", 300, async || place.served().await == expected)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_a_canary_under_load_loses_no_request() {
    let Some(place) = Place::new("canary").await else { return };
    let (mut process, _) = started(&place).await;
    let began = Instant::now();
    create(&mut process, "one", place.rollout("tree", strategy(&[])).await).await;
    let one = ended(&mut process, "one").await;
    assert_eq!(one.state(), State::Succeeded, "{:?}", one.failure);
    println!("first deployment live after {:.1} s at {}", began.elapsed().as_secs_f64(), one.endpoint);
    let (status, revision, body) = place.predict(&one.endpoint, json!([5.1, 3.5, 1.4, 0.2])).await;
    assert_eq!((status, revision.as_str()), (200, "iris-00001"), "{body}");

    let load = Load::start_as(&one.endpoint, 4, json!([5.1, 3.5, 1.4, 0.2]), Some(&place.token));
    let began = Instant::now();
    create(&mut process, "two", place.rollout("deeper", strategy(&[10, 50])).await).await;
    let two = ended(&mut process, "two").await;
    assert_eq!(two.state(), State::Succeeded, "{:?} {:?}", two.failure, two.steps);
    assert_eq!(titles(&two), ["revision", "proof", "canary 10 %", "canary 50 %", "promote", "drain"]);
    println!("second deployment live after {:.1} s", began.elapsed().as_secs_f64());
    for step in &two.steps {
        println!("  {}: {}", step.title, step.message);
    }
    settled(&place, "deeper").await;
    println!("settled after {:.1} s", began.elapsed().as_secs_f64());
    let (status, revision, _) = place.predict(&two.endpoint, json!([5.1, 3.5, 1.4, 0.2])).await;
    assert_eq!((status, revision.as_str()), (200, "iris-00002"));
    let seen = load.stop().await;
    println!(
        "sent {}, failed {}, p50 {:.1} ms, p99 {:.1} ms, by revision {:?}",
        seen.sent,
        seen.failed,
        seen.percentile_ms(50),
        seen.percentile_ms(99),
        seen.revisions
    );
    assert_eq!(seen.failed, 0, "{:?}", &seen.errors[..seen.errors.len().min(5)]);
    let canary = two.steps.iter().find(|step| step.title == "canary 50 %").unwrap();
    assert!(canary.requests >= 5, "{canary:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_what_fails_is_named_and_undone() {
    let Some(place) = Place::new("fails").await else { return };
    let (mut process, _) = started(&place).await;
    create(&mut process, "one", place.rollout("tree", strategy(&[])).await).await;
    assert_eq!(ended(&mut process, "one").await.state(), State::Succeeded);
    let sample = ("serving/sample.json", crate::world::SAMPLE);
    let image = crate::world::TEMPLATE.replace("modelFormat:", "image: registry.test/nothing/there:1, modelFormat:");
    let memory = crate::world::TEMPLATE
        .replace("modelFormat:", "resources: {requests: {memory: 40Mi}, limits: {memory: 40Mi}}, modelFormat:");
    let large = crate::world::TEMPLATE
        .replace("modelFormat:", "resources: {requests: {cpu: '900'}, limits: {cpu: '900'}}, modelFormat:");
    let runtime = crate::world::TEMPLATE.replace("modelFormat:", "runtime: not-there, modelFormat:");
    let with = |template: &str| [("serving/template.yaml", template.to_owned()), (sample.0, sample.1.to_owned())];
    let cases = [
        ("runtime", with(&runtime), "tree", "there is no serving runtime `not-there`"),
        ("missing", with(crate::world::TEMPLATE), "nothing-there", "the model cannot be fetched"),
        ("image", with(&image), "tree", "cannot be pulled"),
        ("memory", with(&memory), "tree", "ran out of memory"),
        ("large", with(&large), "tree", "no node takes its pod"),
        ("corrupt", with(crate::world::TEMPLATE), "corrupt", "the model server ended with exit code"),
        ("shape", with(crate::world::TEMPLATE), "three", "did not answer the sample request"),
    ];
    for (id, files, model, says) in cases {
        let began = Instant::now();
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, text.as_str())).collect();
        let rollout = Rollout { golden_path: String::new(), ..place.rollout_of(&files, model, strategy(&[50])).await };
        create(&mut process, id, rollout).await;
        let failed = ended(&mut process, id).await;
        assert_eq!(failed.state(), State::Failed, "{id}");
        let failure = failed.failure.unwrap();
        println!("{id} after {:.1} s: {}", began.elapsed().as_secs_f64(), failure.message);
        println!("    log: {:?}", failure.log_tail.lines().last());
        assert!(failure.message.contains(says), "{id}: {}", failure.message);
        assert!(failure.message.contains("Live stays iris-00001"), "{id}: {}", failure.message);
        let (status, revision, _) = place.predict(&failed.endpoint, json!([5.1, 3.5, 1.4, 0.2])).await;
        assert_eq!((status, revision.as_str()), (200, "iris-00001"), "{id}");
    }
    settled(&place, "tree").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_killed_at_every_step_it_goes_on() {
    let Some(place) = Place::new("kill").await else { return };
    let (mut process, settings) = started(&place).await;
    let file = place.folder.path().join("settings.yaml");
    create(&mut process, "one", place.rollout("tree", strategy(&[])).await).await;
    let one = ended(&mut process, "one").await;
    assert_eq!(one.state(), State::Succeeded, "{:?}", one.failure);
    let load = Load::start_as(&one.endpoint, 4, json!([5.1, 3.5, 1.4, 0.2]), Some(&place.token));
    create(&mut process, "two", place.rollout("deeper", strategy(&[10, 50])).await).await;
    for step in ["revision", "proof", "canary 10 %", "canary 50 %", "promote", "drain"] {
        let two = until(&mut process.client, "two", |r| is_at(r, step)).await;
        process.child.kill().unwrap();
        process.child.wait().unwrap();
        println!("killed at {step} (was {:?})", two.steps.last().map(|step| &step.title));
        process = Process::start(&settings, &file);
        process.up().await;
    }
    let two = ended(&mut process, "two").await;
    assert_eq!(two.state(), State::Succeeded, "{:?}", two.failure);
    assert_eq!(two.revision, "iris-00002");
    settled(&place, "deeper").await;
    let seen = load.stop().await;
    println!("sent {}, failed {}, p99 {:.1} ms", seen.sent, seen.failed, seen.percentile_ms(99));
    assert_eq!(seen.failed, 0, "{:?}", &seen.errors[..seen.errors.len().min(5)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_what_is_there_already_is_adopted_and_changes_are_seen() {
    let Some(place) = Place::new("adopt").await else { return };
    let kind = ("serving.kserve.io", "v1beta1", "InferenceService", "inferenceservices");
    let model =
        json!({"modelFormat": {"name": "sklearn"}, "protocolVersion": "v1", "storageUri": "s3://isvc-tests/constant"});
    let spec = json!({"predictor": {"serviceAccountName": "default-editor", "model": model}});
    place.apply(kind, json!({"metadata": {"name": "iris"}, "spec": spec})).await;
    place
        .until("somebody's own is ready", 300, async || {
            let found = place.inference_services().get("iris").await.unwrap();
            let conditions = found.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|c| c["type"] == "PredictorReady" && c["status"] == "True")
        })
        .await;
    let (mut process, _) = started(&place).await;
    create(&mut process, "one", place.rollout("tree", strategy(&[20])).await).await;
    let one = ended(&mut process, "one").await;
    assert_eq!(one.state(), State::Succeeded, "{:?}", one.failure);
    assert_eq!((one.previous_revision.as_str(), one.revision.as_str()), ("iris-00000", "iris-00001"));
    settled(&place, "tree").await;

    let model = json!({"storageUri": "s3://isvc-tests/deeper"});
    place.apply(kind, json!({"metadata": {"name": "iris"}, "spec": {"predictor": {"model": model}}})).await;
    let request = GetInferenceServiceRequest { name: place.service() };
    let mut notices = Vec::new();
    place
        .until("the change is noticed", 20, async || {
            notices = process.client.get_inference_service(request.clone()).await.unwrap().into_inner().notices;
            !notices.is_empty()
        })
        .await;
    println!("{notices:?}");
    assert!(notices[0].contains("spec.predictor.model.storageUri") && notices[0].contains("somebody"), "{notices:?}");

    create(&mut process, "two", place.rollout("constant", strategy(&[])).await).await;
    let failure = ended(&mut process, "two").await.failure.unwrap();
    println!("{}", failure.message);
    assert!(failure.message.contains("somebody"), "{}", failure.message);
}
