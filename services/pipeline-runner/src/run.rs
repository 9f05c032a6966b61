//! A run: what was asked for, its tasks, its metrics, its model.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use kfops_core::{Digest, Failure};
use kfops_resource::Record;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::life::{Life, State};

/// Which artifact of which task is the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSource {
    /// Empty: the only task that has the output.
    pub task: String,
    /// Name of the output artifact.
    pub output: String,
}

/// What a run is asked to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunSpec {
    pub(crate) version: String,
    pub(crate) arguments: BTreeMap<String, Value>,
    pub(crate) model_source: Option<ModelSource>,
    pub(crate) experiment: String,
    pub(crate) timeout: Option<Duration>,
}

/// A task of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Unique within the run; tasks of a loop are called `<iteration>.<task>`.
    pub name: String,
    pub(crate) state: State,
    pub(crate) start_time: Option<SystemTime>,
    pub(crate) end_time: Option<SystemTime>,
    /// As pinned in the specification.
    pub image: String,
    /// Numbers that it wrote.
    pub metrics: BTreeMap<String, f64>,
    /// Values that it was given.
    pub inputs: BTreeMap<String, Value>,
    /// Values and artifacts that it wrote.
    pub outputs: BTreeMap<String, Value>,
    /// Where its artifacts lie while the run's files exist.
    pub artifacts: BTreeMap<String, String>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Whether it wrote a log.
    pub logged: bool,
}

impl Task {
    /// One that has not begun.
    #[must_use]
    pub fn pending(name: impl Into<String>, image: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            state: State::Pending,
            start_time: None,
            end_time: None,
            image: image.into(),
            metrics: BTreeMap::new(),
            inputs: BTreeMap::new(),
            outputs: BTreeMap::new(),
            artifacts: BTreeMap::new(),
            failure: None,
            logged: false,
        }
    }

    /// Ends it, unless it has ended.
    pub(crate) fn end(&mut self, state: State, failure: Option<Failure>, now: SystemTime) {
        if !self.state.ended() {
            self.state = state;
            self.failure = failure;
            self.end_time = self.start_time.map(|_| now);
        }
    }
}

/// A model in the model store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Model {
    pub(crate) uri: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// A run as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) life: Life,
    pub(crate) spec: RunSpec,
    pub(crate) pipeline: String,
    pub(crate) commit: String,
    pub(crate) attempt: i32,
    pub(crate) tasks: Vec<Task>,
    pub(crate) model: Option<Model>,
}

impl Run {
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", Self::COLLECTION, self.life.id)
    }

    /// Where the log lies in the object store.
    pub(crate) fn log_key(&self) -> String {
        format!("logs/runs/{}.log", self.life.id)
    }

    /// Where a task's log lies in the object store.
    pub(crate) fn task_log_key(&self, task: &str) -> String {
        format!("logs/runs/{}/{task}.log", self.life.id)
    }

    /// Metrics of all tasks; of two with one name, the task that ended later counts.
    pub(crate) fn metrics(&self) -> BTreeMap<String, f64> {
        let mut tasks: Vec<&Task> = self.tasks.iter().collect();
        tasks.sort_by_key(|task| task.end_time);
        tasks.into_iter().flat_map(|task| task.metrics.clone()).collect()
    }
}

impl Record for Run {
    const COLLECTION: &'static str = "runs";

    fn id(&self) -> &str {
        &self.life.id
    }

    fn ended(&self) -> bool {
        self.life.state.ended()
    }

    fn same_request(&self, other: &Self) -> bool {
        self.spec == other.spec
    }
}
