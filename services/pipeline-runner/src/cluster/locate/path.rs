//! Up to KFP 2.17: `{root}/{pipeline}/{run}/{task}/{salt}/{output}`, found by looking: the salt is random. Metrics are in ML
//! Metadata alone; without it a run has none.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use kfops_core::Failure;
use kfops_store::Store;

use super::{Locate, Metadata};
use crate::cluster::{kfp::Run, objects::Root, spec::Spec, tasks::Found};

/// The output that KFP itself adds: what the task printed.
const LOG: &str = "executor-logs";

pub(in crate::cluster) struct ByPath {
    artifacts: Store,
    metadata: Option<Metadata>,
}

impl ByPath {
    pub(in crate::cluster) fn new(artifacts: Store, metadata: Option<Metadata>) -> Self {
        Self { artifacts, metadata }
    }

    /// The numbers of each metrics artifact, by its URI. A run never fails for want of them.
    async fn metrics(&self, run: &str) -> BTreeMap<String, BTreeMap<String, f64>> {
        let Some(metadata) = &self.metadata else { return BTreeMap::new() };
        match metadata.artifacts(run).await {
            Ok(found) => found.into_iter().map(|artifact| (artifact.uri.clone(), artifact.metrics())).collect(),
            Err(failure) => {
                tracing::warn!(run, %failure, "the run is shown without metrics");
                BTreeMap::new()
            }
        }
    }
}

/// Outputs that were written, by task and salt.
type Written = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

fn written<'a>(keys: impl Iterator<Item = &'a str>) -> Written {
    let mut written = Written::new();
    for key in keys {
        let mut parts = key.splitn(4, '/');
        if let (Some(task), Some(salt), Some(output)) = (parts.next(), parts.next(), parts.next()) {
            written.entry(task.into()).or_default().entry(salt.into()).or_default().insert(output.into());
        }
    }
    written
}

#[async_trait]
impl Locate for ByPath {
    fn full(&self) -> bool {
        false
    }

    async fn locate(&self, run: &Run, spec: &Spec, root: &Root, found: &mut [Found]) -> Result<(), Failure> {
        if spec.name.is_empty() || run.run_id.is_empty() {
            return Ok(());
        }
        let prefix = root.key(&format!("{}/{}", spec.name, run.run_id));
        let keys = self.artifacts.list(&prefix).await?;
        let written = written(keys.iter().filter_map(|key| key.strip_prefix(&prefix)?.strip_prefix('/')));
        let metrics = self.metrics(&run.run_id).await;
        let mut times = BTreeMap::<String, usize>::new();
        for task in found.iter() {
            *times.entry(task.key.clone()).or_default() += 1;
        }
        for task in found {
            let Some(leaf) = spec.leaves.get(&task.key) else { continue };
            let places: Vec<(&String, &String, &BTreeSet<String>)> = written
                .iter()
                .filter(|(folder, _)| leaf.folders.contains(*folder))
                .flat_map(|(folder, salts)| salts.iter().map(move |(salt, outputs)| (folder, salt, outputs)))
                .collect();
            let [(folder, salt, outputs)] = places.as_slice() else {
                if !places.is_empty() {
                    tracing::warn!(
                        run = run.run_id,
                        task = task.task.name,
                        folders = places.len(),
                        "it cannot be told which artifacts are of this task"
                    );
                }
                continue;
            };
            // A task of a loop: nothing says which of its turns wrote this.
            if times.get(&task.key).is_some_and(|times| *times > 1) {
                tracing::warn!(
                    run = run.run_id,
                    task = task.task.name,
                    "it cannot be told which turn wrote these artifacts"
                );
                continue;
            }
            let at = |output: &str| format!("{prefix}/{folder}/{salt}/{output}");
            task.task.artifacts = leaf.outputs.iter().map(|output| (output.clone(), root.uri(&at(output)))).collect();
            let numbers = task.task.artifacts.values().filter_map(|uri| metrics.get(uri));
            task.task.metrics = numbers.flatten().map(|(name, value)| (name.clone(), *value)).collect();
            task.log = outputs.contains(LOG).then(|| at(LOG));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::tasks::{Names, fold};

    #[tokio::test]
    async fn artifacts_are_found_where_they_can_be_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(format!("file://{}", folder.path().display())).unwrap();
        for key in [
            "p/r/Shown name/s1/model/a/b",
            "p/r/Shown name/s1/executor-logs",
            "p/r/looped/s1/model",
            "p/r/looped/s2/model",
            "p/r/twice/s1/model",
            "p/other/train/s1/model",
        ] {
            store.put(&format!("v2/{key}"), "x").await.unwrap();
        }
        let leaf = |shown: &str| json!({"componentRef": {"name": "c"}, "taskInfo": {"name": shown}});
        let spec = Spec::of(&json!({
            "pipelineInfo": {"name": "p"},
            "components": {"c": {"executorLabel": "e", "outputDefinitions": {"artifacts": {"model": {}, "empty": {}}}}},
            "root": {"dag": {"tasks": {"train": leaf("Shown name"), "looped": leaf("looped"), "twice": leaf("twice"), "none": leaf("none")}}},
        }));
        let node = |id: &str, name: &str| json!({"task_id": id, "display_name": name, "state": "SUCCEEDED", "start_time": "2026-11-21T02:17:00Z"});
        let nodes =
            [node("1", "train"), node("2", "looped"), node("3", "twice"), node("4", "twice"), node("5", "none")];
        let run: Run = serde_json::from_value(json!({"run_id": "r", "run_details": {"task_details": nodes}})).unwrap();
        let mut found = fold(&run, &spec, &mut Names::default());
        let root = Root::parse("minio://bucket/v2").unwrap();
        ByPath::new(store, None).locate(&run, &spec, &root, &mut found).await.unwrap();
        let artifacts: Vec<usize> = found.iter().map(|found| found.task.artifacts.len()).collect();
        assert_eq!(artifacts, [2, 0, 0, 0, 0]);
        assert_eq!(found[0].task.artifacts["model"], "minio://bucket/v2/p/r/Shown name/s1/model");
        assert_eq!(found[0].log.as_deref(), Some("v2/p/r/Shown name/s1/executor-logs"));
    }
}
