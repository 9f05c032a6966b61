//! What a command does, piece by piece.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// A piece of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Who may, and is the pull request fit for it?
    Gate,
    /// The answer of a verb that only reads.
    Answer,
    /// What a verb does to other commands.
    Act,
    /// The files of the commit lie in the object store, kfops.yaml is read.
    Source,
    /// The images.
    Build,
    /// The pipeline version.
    Compile,
    /// The images bear the version's id as a tag.
    Tag,
    /// The run.
    Run,
    /// The gate once more, before anything goes live: time has passed.
    Recheck,
    /// The new model goes live.
    Rollout,
    /// The pull request is merged.
    Merge,
    /// The labels tell what is live.
    Label,
}

impl Stage {
    /// Title of its step, and key of its span.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Answer => "answer",
            Self::Act => "act",
            Self::Source => "source",
            Self::Build => "build",
            Self::Compile => "compile",
            Self::Tag => "tag",
            Self::Run => "run",
            Self::Recheck => "recheck",
            Self::Rollout => "rollout",
            Self::Merge => "merge",
            Self::Label => "label",
        }
    }

    /// The collection of the worker's resource.
    #[must_use]
    pub const fn collection(self) -> Option<&'static str> {
        match self {
            Self::Build => Some("builds"),
            Self::Compile => Some("pipelineVersions"),
            Self::Run => Some("runs"),
            Self::Rollout => Some("rollouts"),
            _ => None,
        }
    }
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Not begun.
    Pending,
    /// Under way.
    Running,
    /// Done.
    Succeeded,
    /// Not done.
    Failed,
    /// Not needed.
    Skipped,
    /// Ended on purpose.
    Canceled,
}

impl StepState {
    /// Whether there is nothing left to do for it.
    #[must_use]
    pub const fn done(self) -> bool {
        matches!(self, Self::Succeeded | Self::Skipped)
    }
}

/// A step, or a part of one that a worker reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The stage that it is, or belongs to.
    pub stage: Stage,
    /// Whether it is a part.
    pub part: bool,
    /// e.g. `image trainer`.
    pub title: String,
    /// How far it is.
    pub state: StepState,
    /// Start.
    pub start: Option<SystemTime>,
    /// End.
    pub end: Option<SystemTime>,
    /// What was seen.
    pub message: String,
    /// The worker's resource.
    pub resource: String,
    /// Its log in the object store.
    pub log_key: String,
}

impl Step {
    /// A step that has not begun.
    #[must_use]
    pub fn new(stage: Stage) -> Self {
        Self {
            stage,
            part: false,
            title: stage.as_str().to_owned(),
            state: StepState::Pending,
            start: None,
            end: None,
            message: String::new(),
            resource: String::new(),
            log_key: String::new(),
        }
    }

    /// A part of a stage.
    #[must_use]
    pub fn part(stage: Stage, title: impl Into<String>, state: StepState) -> Self {
        Self { part: true, title: title.into(), state, ..Self::new(stage) }
    }
}
