//! What a command asks for.

use kfops_project::Environment;
use serde::{Deserialize, Serialize};

/// What a command asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Builds the images and compiles the pipeline.
    Build,
    /// Runs the version built last.
    Run,
    /// Both.
    BuildRun,
    /// Rolls the model of the last run out to production, merges.
    Deploy,
    /// Rolls the model of the last run out to staging.
    StagingDeploy,
    /// Builds, runs and deploys.
    Ship,
    /// Shows what is under way and what is live.
    Status,
    /// Shows the verbs.
    Help,
}

impl Verb {
    /// Every verb, in the order of `/help`.
    pub const ALL: [Self; 8] = [
        Self::Build,
        Self::Run,
        Self::BuildRun,
        Self::Deploy,
        Self::StagingDeploy,
        Self::Ship,
        Self::Status,
        Self::Help,
    ];

    /// Without the slash.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Run => "run",
            Self::BuildRun => "build_run",
            Self::Deploy => "deploy",
            Self::StagingDeploy => "staging_deploy",
            Self::Ship => "ship",
            Self::Status => "status",
            Self::Help => "help",
        }
    }

    /// The verb of that name; capitals and `-` for `_` are forgiven.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let word = word.to_ascii_lowercase().replace('-', "_");
        Self::ALL.into_iter().find(|verb| verb.as_str() == word)
    }

    /// How it is written, for people.
    #[must_use]
    pub const fn usage(self) -> &'static str {
        match self {
            Self::Build => "/build [image...]",
            Self::Run => "/run [--set k=v] [--version-id V]",
            Self::BuildRun => "/build_run [--set k=v]",
            Self::Deploy => "/deploy [--run-id R] [--force]",
            Self::StagingDeploy => "/staging_deploy [--run-id R]",
            Self::Ship => "/ship [--set k=v] [--force]",
            Self::Status => "/status",
            Self::Help => "/help",
        }
    }

    /// What it does, for people.
    #[must_use]
    pub const fn summary(self) -> &'static str {
        match self {
            Self::Build => "builds the images (all, or those named) and compiles the pipeline",
            Self::Run => "runs the version built last in this pull request",
            Self::BuildRun => "both",
            Self::Deploy => "rolls the model of the last run out to production, then merges",
            Self::StagingDeploy => "rolls the model of the last run out to staging",
            Self::Ship => "builds, runs, deploys and merges",
            Self::Status => "shows the commands of this pull request and what is live",
            Self::Help => "shows this",
        }
    }

    /// Whether it only reads.
    #[must_use]
    pub const fn only_reads(self) -> bool {
        matches!(self, Self::Status | Self::Help)
    }

    /// Where it deploys to.
    #[must_use]
    pub const fn environment(self) -> Option<Environment> {
        match self {
            Self::Deploy | Self::Ship => Some(Environment::Production),
            Self::StagingDeploy => Some(Environment::Staging),
            _ => None,
        }
    }

    /// Whether it takes the model of an earlier run.
    #[must_use]
    pub const fn needs_run(self) -> bool {
        matches!(self, Self::Deploy | Self::StagingDeploy)
    }

    /// Whether it ends with a merge.
    #[must_use]
    pub const fn merges(self) -> bool {
        matches!(self, Self::Deploy | Self::Ship)
    }
}
