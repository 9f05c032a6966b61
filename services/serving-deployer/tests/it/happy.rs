//! Rollouts that succeed.

use kfops_core::TraceContext;
use kfops_proto::serving::{Rollout, State};
use serde_json::json;

use crate::{
    load::Load,
    models::model,
    otlp::Receiver,
    world::{FILES, World, is_at, predict, put_source, rollout, strategy, titles},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_changes_under_load_and_no_request_is_lost() {
    let mut world = World::start().await;
    let began = std::time::Instant::now();
    world.deploy("one", "tree", strategy(&[10, 50])).await;
    let first = world.ended("one").await;
    println!("first rollout: {:.2} s", began.elapsed().as_secs_f64());
    assert_eq!(first.state(), State::Succeeded, "{:?}", first.failure);
    assert_eq!(titles(&first), ["revision", "proof", "promote", "drain"]);
    assert_eq!((first.revision.as_str(), first.previous_revision.as_str()), ("iris-00001", ""));
    assert_eq!(first.sample_response, r#"{"predictions":[0,2]}"#);
    assert!(first.endpoint.ends_with("/serving/team/iris/v1/models/iris:predict"), "{}", first.endpoint);

    let load = Load::start(&first.endpoint, 6, json!([5.1, 3.5, 1.4, 0.2]));
    world.deploy("two", "deeper", strategy(&[10, 50])).await;
    world.until("two", |r| is_at(r, "canary 50 %")).await;
    let second = world.ended("two").await;
    assert_eq!(second.state(), State::Succeeded, "{:?}", second.failure);
    assert_eq!(titles(&second), ["revision", "proof", "canary 10 %", "canary 50 %", "promote", "drain"]);
    let service = world.inference_service().await;
    assert_eq!(service.live_revision, "iris-00002");
    let states: Vec<(&str, &str, i32)> =
        service.revisions.iter().map(|r| (r.name.as_str(), r.state.as_str(), r.percent)).collect();
    assert_eq!(states, [("iris-00001", "retired", 0), ("iris-00002", "ready", 100)]);
    let share = |step: &str| {
        let step = second.steps.iter().find(|s| s.title == step).unwrap();
        assert!(step.requests > 10 && step.errors == 0 && step.p99_ms > 0.0, "{step:?}");
        step.requests
    };
    assert!(share("canary 50 %") > share("canary 10 %"));

    // The third model replaces the second at once, without a canary.
    world.deploy("three", "tree", strategy(&[])).await;
    assert_eq!(world.ended("three").await.state(), State::Succeeded);
    let seen = load.stop().await;
    println!(
        "load: {} sent, {} failed, p50 {:.1} ms, p99 {:.1} ms, {:?}",
        seen.sent,
        seen.failed,
        seen.percentile_ms(50),
        seen.percentile_ms(99),
        seen.revisions
    );
    assert_eq!(seen.failed, 0, "{:?}", seen.errors);
    assert!(seen.sent > 500, "{}", seen.sent);
    assert_eq!(seen.revisions.keys().collect::<Vec<_>>(), ["iris-00001", "iris-00002", "iris-00003"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn v2_and_the_deployment_function_of_kfops_1_are_served_by_path_and_by_host() {
    const FUNCTION: &str = r#"
from kserve import V1beta1InferenceService, V1beta1InferenceServiceSpec, V1beta1PredictorSpec, V1beta1SKLearnSpec
from kubernetes import client

def inference_service_instance(name, storage_uri, namespace="default", canary_traffic_percent=None):
    return V1beta1InferenceService(
        api_version="serving.kserve.io/v1beta1", kind="InferenceService",
        metadata=client.V1ObjectMeta(name=name, namespace=namespace),
        spec=V1beta1InferenceServiceSpec(predictor=V1beta1PredictorSpec(
            sklearn=V1beta1SKLearnSpec(storage_uri=storage_uri, protocol_version="v2"))))
"#;
    let mut world = World::start().await;
    let sample =
        json!({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP64", "data": [[5.1, 3.5, 1.4, 0.2]]}]});
    let files = [("config_files/deployment.py", FUNCTION), ("sample.json", &sample.to_string())];
    let source = put_source(world.path(), &files).await;
    let request = Rollout {
        template_path: "config_files/deployment.py".into(),
        sample_path: "sample.json".into(),
        golden_path: String::new(),
        ..rollout(source, model("tree"), strategy(&[]))
    };
    world.create("one", request).await.unwrap();
    let rollout = world.ended("one").await;
    assert_eq!(rollout.state(), State::Succeeded, "{:?}", rollout.failure);
    assert!(rollout.endpoint.ends_with("/serving/team/iris/v2/models/iris/infer"), "{}", rollout.endpoint);
    let (status, revision, body) = predict(&rollout.endpoint, sample.clone()).await;
    assert_eq!((status, revision.as_str(), &body["outputs"][0]["data"]), (200, "iris-00001", &json!([0])));

    let (base, _) = rollout.endpoint.split_once("/serving").unwrap();
    let by_host = base.replace("127.0.0.1", "iris.team.localhost") + "/v2/models/iris/infer";
    let address = base.trim_start_matches("http://").parse().unwrap();
    let client = reqwest::Client::builder().no_proxy().resolve("iris.team.localhost", address).build().unwrap();
    assert_eq!(client.post(by_host).json(&sample).send().await.unwrap().status(), 200);
    assert_eq!(predict(&format!("{base}/serving/team/other/v2/models/iris/infer"), sample.clone()).await.0, 404);
    let pinned = client.post(&rollout.endpoint).header("kfops-revision", "iris-00009").json(&sample);
    assert_eq!(pinned.send().await.unwrap().status(), 404);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_is_one_trace_from_the_caller_to_the_model() {
    let receiver = Receiver::start().await;
    let (grpc, http) = (receiver.grpc.clone(), receiver.http.clone());
    let change = |mut settings: kfops_serving_deployer::Settings| {
        settings.telemetry.otlp_endpoint = Some(grpc.clone());
        settings.model_otlp_endpoint = Some(http);
        settings
    };
    let mut world = World::start_with(change, &grpc).await;
    let caller = TraceContext::from_random([7; 24]);
    let source = put_source(world.path(), FILES).await;
    world.create_traced("one", rollout(source.clone(), model("tree"), strategy(&[])), &caller).await;
    let one = world.ended("one").await;
    assert_eq!(one.state(), State::Succeeded, "{:?}", one.failure);
    // Not traced by its sender: no span.
    assert_eq!(predict(&one.endpoint, json!({"instances": [[5.1, 3.5, 1.4, 0.2]]})).await.0, 200);

    let trace = caller.trace_id.to_string();
    let spans = receiver.at_least(8, &trace).await;
    let find = |service: &str, name: &str| {
        let mut found = spans.iter().filter(|s| s.service == service && (name.is_empty() || s.name == name));
        let span = found.next().unwrap_or_else(|| panic!("no {service} {name} in {spans:#?}"));
        assert!(found.next().is_none(), "two of {service} {name}: {spans:#?}");
        span.clone()
    };
    let top = find("kfops-serving-deployer", "rollout iris");
    assert_eq!(top.parent, caller.span_id.to_string());
    let proof = find("kfops-serving-deployer", "proof");
    let sample = find("kfops-serving-deployer", "sample request");
    let envoy = find("envoy", "");
    let served = find("iris", "model.predict");
    assert_eq!((&proof.parent, &sample.parent), (&top.id, &proof.id));
    assert_eq!((&envoy.parent, &served.parent), (&sample.id, &envoy.id));
    assert_eq!((sample.kind, envoy.kind, served.kind), (3, 2, 2), "client, server, server");
    for name in ["revision iris-00001", "promote", "drain"] {
        assert_eq!(find("kfops-serving-deployer", name).parent, top.id);
    }

    // A failed one is whole too.
    let failing = TraceContext::from_random([9; 24]);
    world.create_traced("two", rollout(source, model("three"), strategy(&[])), &failing).await;
    assert_eq!(world.ended("two").await.state(), State::Failed);
    let spans = receiver.at_least(7, &failing.trace_id.to_string()).await;
    assert!(spans.iter().any(|s| s.name == "rollout iris" && s.failed));
    assert!(spans.iter().any(|s| s.name == "restore"));
    for span in &spans {
        let known = span.parent == failing.span_id.to_string() || spans.iter().any(|s| s.id == span.parent);
        assert!(known, "orphan: {span:?}");
    }
    assert!(receiver.spans().iter().all(|s| s.trace == trace || s.trace == failing.trace_id.to_string()));
    world.stop().await;
}
