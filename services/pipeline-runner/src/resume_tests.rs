//! A run that had finished when everything was killed, before its model was copied. Needs no Python: nothing is run again.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::StreamExt as _;
use kfops_core::Digest;
use kfops_resource::{Record as _, Table};
use kfops_rpc::Lifecycle;
use kfops_telemetry::Tracer;

use crate::{
    Ports, Settings,
    engine::Engine,
    life::{Life, State},
    run::{Run, RunSpec},
    version::{PipelineVersion, Source, VersionSpec},
};

const SPEC: &str = "
pipelineInfo: {name: tiny}
components: {comp-train: {executorLabel: exec-train}}
deploymentSpec: {executors: {exec-train: {container: {image: python}}}}
root: {dag: {tasks: {train: {componentRef: {name: comp-train}}}}}
";

fn version(now: SystemTime) -> PipelineVersion {
    let source = Source { key: "k".into(), digest: Digest::of(b""), commit: String::new(), repository: String::new() };
    let spec = VersionSpec {
        source,
        pipeline: "tiny".into(),
        path: "p.py".into(),
        function: String::new(),
        description: String::new(),
        images: Vec::new(),
    };
    let mut life = Life::new(PipelineVersion::COLLECTION, "v-1", now, None);
    life.end(None, now);
    PipelineVersion {
        life,
        spec,
        sandbox: String::new(),
        spec_digest: Some(Digest::of(SPEC.as_bytes())),
        parameters: BTreeMap::new(),
        phases: Vec::new(),
    }
}

fn run(now: SystemTime) -> Run {
    let mut life = Life::new(Run::COLLECTION, "r-1", now, None);
    life.begin(now);
    let spec = RunSpec {
        version: "v-1".into(),
        arguments: BTreeMap::new(),
        model_source: None,
        experiment: String::new(),
        timeout: None,
    };
    Run { life, spec, pipeline: "tiny".into(), commit: String::new(), attempt: 1, tasks: Vec::new(), model: None }
}

#[tokio::test]
async fn goes_on_where_it_was_left() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let settings = Settings {
        state: root.join("state"),
        store: format!("file://{}", root.join("store").display()).into(),
        python: root.join("no-python"),
        ..Settings::default()
    };
    let ports = Ports::local(&settings, Tracer::disabled()).await.unwrap();
    let store = ports.store.clone();
    store.put("specs/v-1.yaml", SPEC).await.unwrap();
    // Half a copy of the model, which another attempt may have left.
    store.put("models/r-1/old", "old").await.unwrap();

    let attempt = settings.state.join("runs/r-1/1");
    let model = attempt.join("artifacts/tiny-1/train/model");
    std::fs::create_dir_all(&model).unwrap();
    std::fs::write(model.join("model.bin"), "trained").unwrap();
    let events = [
        r#"{"event":"start","task":"train","time_ns":1000000000,"image":"python"}"#.to_owned(),
        format!(
            r#"{{"event":"end","task":"train","time_ns":2000000000,"state":"succeeded","artifacts":{{"model":{:?}}},"metrics":{{"accuracy":0.5}}}}"#,
            model.display().to_string()
        ),
    ];
    std::fs::write(attempt.join("events.jsonl"), events.join("\n") + "\n").unwrap();
    std::fs::write(attempt.join("result.json"), r#"{"state":"succeeded","error":""}"#).unwrap();

    let now = ports.clock.now();
    let database = settings.state.join("pipelines.db");
    let (versions, runs) = (Table::open(&database).unwrap(), Table::open(&database).unwrap());
    versions.create(version(now)).await.unwrap();
    runs.create(run(now)).await.unwrap();
    let lifecycle = Lifecycle::new();
    let engine: Arc<Engine> = Engine::new(settings, ports, versions, runs, lifecycle.clone());
    engine.resume().await.unwrap();
    let snapshots = engine.runs.watch("r-1").await.unwrap();
    // The last snapshot is the terminal one.
    let run =
        tokio::time::timeout(Duration::from_secs(20), snapshots.collect::<Vec<_>>()).await.unwrap().pop().unwrap();
    assert!(lifecycle.finish(Duration::from_secs(20)).await);

    assert_eq!((run.life.state, run.attempt), (State::Succeeded, 1), "{:?}", run.life.failure);
    assert_eq!(run.metrics()["accuracy"], 0.5);
    assert!(run.model.unwrap().uri.ends_with("/models/r-1"));
    assert_eq!(store.list("models/r-1").await.unwrap(), ["models/r-1/model.bin"]);
    assert!(!attempt.exists());
}
