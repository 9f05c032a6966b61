//! Pipelines as they were written for Kfops 1.

use kfops_proto::pipeline as pb;

use crate::harness::{Runner, pinned};

const PIPELINE: &str = r#"
import kfp
from kfp.v2.dsl import component, Output, Model
from kfops.model import materialize_model
from kfops.tagger import versioned_image

@component(base_image=versioned_image("trainer"), install_kfp_package=False)
def train(version_id: str, model: Output[Model]):
    import os
    os.makedirs(model.path)
    with open(model.path + "/version", "w") as file:
        file.write(version_id)

@kfp.v2.dsl.pipeline(name="Example_pipeline")
def example_pipeline(version_id: str):
    task = train(version_id=version_id)
    materialize_model(model=task.outputs["model"])
"#;

#[tokio::test]
async fn versioned_image_materialize_model_and_version_id_work() {
    let mut runner = Runner::start().await;
    let run = runner.run(PIPELINE, pb::Run::default()).await;
    assert_eq!(run.state(), pb::State::Succeeded, "{:?}", run.failure);
    assert!(runner.text("specs/v-1.yaml").await.contains(&pinned("trainer")));
    // The model is the one of the task that wrote it, and the input `version_id` is the version's id.
    assert_eq!(runner.text("models/r-1/version").await, "v-1");
    assert!(run.tasks.iter().any(|task| task.name == "materialize-model"), "{:?}", run.tasks);
}

#[tokio::test]
async fn an_unknown_versioned_image_is_named() {
    let mut runner = Runner::start().await;
    let version = runner.compile("p.py", &[("p.py", &PIPELINE.replace("\"trainer\"", "\"trainr\""))]).await;
    let message = version.failure.unwrap().message;
    assert!(message.contains("`trainr`") && message.contains("evaluator, trainer"), "{message}");
}
