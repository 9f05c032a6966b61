//! The release after KFP 2.17: `runs/{id}?view=FULL` names artifacts, metrics and values of every task.

use std::collections::BTreeMap;

use async_trait::async_trait;
use kfops_core::Failure;
use serde_json::Value;

use super::Locate;
use crate::cluster::{
    kfp::{Artifact, Parameter, Run},
    objects::Root,
    spec::Spec,
    tasks::Found,
};

/// The output that KFP itself adds: what the task printed.
const LOG: &str = "executor-logs";
/// Longest value that is shown, bytes of JSON.
const VALUE: usize = 4096;
/// Most values of a task.
const VALUES: usize = 200;

pub(in crate::cluster) struct ByView;

#[async_trait]
impl Locate for ByView {
    fn full(&self) -> bool {
        true
    }

    async fn locate(&self, run: &Run, _spec: &Spec, root: &Root, found: &mut [Found]) -> Result<(), Failure> {
        for found in found {
            let Some(seen) = run.tasks.iter().find(|task| task.task_id == found.id) else { continue };
            let values = |parameters: &[Parameter]| -> BTreeMap<String, Value> {
                let shown = parameters.iter().take(VALUES);
                shown.map(|parameter| (parameter.parameter_key.clone(), short(&parameter.value))).collect()
            };
            found.task.inputs = values(&seen.inputs.parameters);
            found.task.outputs = values(&seen.outputs.parameters);
            for output in seen.outputs.artifacts.iter().take(VALUES) {
                for (number, artifact) in output.artifacts.iter().enumerate() {
                    found.task.metrics.extend(metrics(artifact));
                    if artifact.uri.is_empty() {
                        continue;
                    }
                    if output.artifact_key == LOG {
                        found.log = root.key_of(&artifact.uri);
                        continue;
                    }
                    let key = &output.artifact_key;
                    let key = if number == 0 { key.clone() } else { format!("{key}-{}", number + 1) };
                    found.task.artifacts.insert(key, artifact.uri.clone());
                }
            }
        }
        Ok(())
    }
}

/// The numbers of a metric.
fn metrics(artifact: &Artifact) -> Vec<(String, f64)> {
    if artifact.kind != "Metric" {
        return Vec::new();
    }
    let own = artifact.number_value.map(|value| (artifact.name.clone(), value));
    let further = artifact.metadata.iter().filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)));
    own.into_iter().chain(further).filter(|(_, value)| value.is_finite()).take(VALUES).collect()
}

fn short(value: &Value) -> Value {
    let text = value.to_string();
    if text.len() <= VALUE { value.clone() } else { Value::String(text.chars().take(VALUE).chain(['…']).collect()) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::tasks::{Names, fold};

    #[tokio::test]
    async fn what_the_view_names_is_taken() {
        let artifact = |key: &str, artifact: Value| json!({"artifact_key": key, "artifacts": [artifact]});
        let run: Run = serde_json::from_value(json!({"run_id": "r", "tasks": [{
            "task_id": "1", "name": "train", "type": "RUNTIME", "state": "SUCCEEDED", "create_time": "2026-11-21T02:17:00Z",
            "outputs": {
                "parameters": [{"parameter_key": "Output", "value": 7.0}, {"parameter_key": "long", "value": "x".repeat(9999)}],
                "artifacts": [
                    artifact("model", json!({"uri": "minio://bucket/v2/p/r/train/s/model", "type": "Model"})),
                    artifact("metrics", json!({"name": "accuracy", "number_value": 0.5, "type": "Metric"})),
                    artifact("executor-logs", json!({"uri": "minio://bucket/v2/p/r/train/s/executor-logs"})),
                ],
            },
        }]})).unwrap();
        let spec = Spec::of(&json!({}));
        let mut found = fold(&run, &spec, &mut Names::default());
        ByView.locate(&run, &spec, &Root::parse("minio://bucket/v2").unwrap(), &mut found).await.unwrap();
        let found = &found[0];
        assert_eq!(found.task.artifacts.keys().collect::<Vec<_>>(), ["model"]);
        assert_eq!(found.task.metrics["accuracy"], 0.5);
        assert_eq!(found.task.outputs["Output"], 7.0);
        assert!(found.task.outputs["long"].to_string().len() < 5000);
        assert_eq!(found.log.as_deref(), Some("v2/p/r/train/s/executor-logs"));
    }
}
