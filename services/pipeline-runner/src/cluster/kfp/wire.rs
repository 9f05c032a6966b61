//! KFP's messages, as far as they are read. Every field may be missing: proto's JSON leaves out what has the zero value.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use serde::Deserialize;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A page of a list; `items` has another name in each.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Page {
    pub(super) next_page_token: String,
    #[serde(flatten)]
    pub(super) rest: BTreeMap<String, Value>,
}

/// `GET healthz`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Healthz {
    pub(super) tag_name: String,
    pub(super) multi_user: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Experiment {
    pub(super) experiment_id: String,
    pub(super) display_name: String,
    pub(super) storage_state: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Pipeline {
    pub(super) pipeline_id: String,
    pub(super) name: String,
    pub(super) display_name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct PipelineVersion {
    pub(super) pipeline_version_id: String,
    pub(super) name: String,
    pub(super) display_name: String,
    pub(super) pipeline_spec: Value,
}

/// A run.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Run {
    pub(crate) run_id: String,
    pub(crate) display_name: String,
    pub(crate) created_at: String,
    pub(crate) finished_at: String,
    state: Option<String>,
    pub(crate) error: Said,
    run_details: RunDetails,
    /// Of the release after 2.17, with view=FULL.
    pub(crate) tasks: Vec<NextTask>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct RunDetails {
    task_details: Vec<TaskDetail>,
}

/// `google.rpc.Status`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Said {
    pub(crate) message: String,
}

/// A node of the workflow, up to 2.17.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TaskDetail {
    pub(crate) task_id: String,
    pub(crate) display_name: String,
    pub(crate) start_time: String,
    pub(crate) end_time: String,
    state: Option<String>,
    pub(crate) error: Said,
}

/// A task of the release after 2.17 (`PipelineTask`).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NextTask {
    pub(crate) task_id: String,
    pub(crate) name: String,
    pub(crate) create_time: String,
    pub(crate) end_time: String,
    state: Option<String>,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) status_metadata: Said,
    pub(crate) inputs: InputOutputs,
    pub(crate) outputs: InputOutputs,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct InputOutputs {
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) artifacts: Vec<Artifacts>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Parameter {
    pub(crate) value: Value,
    pub(crate) parameter_key: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Artifacts {
    pub(crate) artifacts: Vec<Artifact>,
    pub(crate) artifact_key: String,
}

/// An artifact of the release after 2.17.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Artifact {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) uri: String,
    pub(crate) number_value: Option<f64>,
    pub(crate) metadata: BTreeMap<String, Value>,
}

/// A state, of a run or a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Pending,
    Running,
    Succeeded,
    Skipped,
    Failed,
    Canceling,
    Canceled,
}

impl State {
    /// Missing until Argo has set a phase.
    fn of(text: Option<&str>) -> Self {
        match text.unwrap_or_default() {
            "" | "RUNTIME_STATE_UNSPECIFIED" | "PENDING" => Self::Pending,
            "SUCCEEDED" | "CACHED" => Self::Succeeded,
            "SKIPPED" => Self::Skipped,
            "FAILED" => Self::Failed,
            "CANCELING" => Self::Canceling,
            "CANCELED" => Self::Canceled,
            // PAUSED too; what is not known has at least not ended.
            _ => Self::Running,
        }
    }

    /// Whether it will not change any more.
    pub(crate) fn ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Skipped | Self::Failed | Self::Canceled)
    }
}

impl Run {
    pub(crate) fn state(&self) -> State {
        State::of(self.state.as_deref())
    }

    /// Nodes of the workflow.
    pub(crate) fn details(&self) -> &[TaskDetail] {
        &self.run_details.task_details
    }
}

impl TaskDetail {
    pub(crate) fn state(&self) -> State {
        State::of(self.state.as_deref())
    }
}

impl NextTask {
    pub(crate) fn state(&self) -> State {
        State::of(self.state.as_deref())
    }
}

/// A time; None for what KFP writes where there is none: nothing, the year 1, 1970.
pub(crate) fn moment(text: &str) -> Option<SystemTime> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let nanos = u64::try_from(time.unix_timestamp_nanos()).ok()?;
    // The first day of 1970 is no true time of a run, whatever the zone.
    (nanos > 86_400_000_000_000).then(|| SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_are_none_are_dropped() {
        for text in ["", "1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "soon"] {
            assert_eq!(moment(text), None, "{text}");
        }
        let time = moment("2026-11-21T02:15:02Z").unwrap();
        assert_eq!(time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs(), 1_795_227_302);
        assert!(moment("2026-11-21T02:15:02.5+01:00").is_some());
    }

    #[test]
    fn a_missing_or_unknown_state_has_not_ended() {
        let state = |json: &str| serde_json::from_str::<Run>(json).unwrap().state();
        assert_eq!(state("{}"), State::Pending);
        assert_eq!(state(r#"{"state":"RUNTIME_STATE_UNSPECIFIED"}"#), State::Pending);
        assert_eq!(state(r#"{"state":"PAUSED"}"#), State::Running);
        assert!(!state(r#"{"state":"CANCELING"}"#).ended());
        assert!(!state(r#"{"state":"NEW"}"#).ended());
        assert!(state(r#"{"state":"FAILED"}"#).ended());
    }

    #[test]
    fn unknown_fields_and_numbers_as_text_do_no_harm() {
        let text = r#"{"run_id":"r","recurring_run_id":"1","run_details":{"pipeline_context_id":"12",
            "task_details":[{"task_id":"t","execution_id":"9","display_name":"train","pod_name":"p"}]},"tasks":[{"name":"train",
            "type_attributes":{"iteration_index":"1"},"pods":[{"type":"EXECUTOR"}]}],"task_count":1}"#;
        let run: Run = serde_json::from_str(text).unwrap();
        assert_eq!((run.details()[0].display_name.as_str(), run.tasks[0].name.as_str()), ("train", "train"));
    }
}
