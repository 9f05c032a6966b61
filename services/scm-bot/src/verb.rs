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
    /// Shows what `/ship` would build, run and change.
    Plan,
    /// Ends the canary: the new model gets all traffic now.
    Promote,
    /// Brings an earlier model back.
    Rollback,
    /// Ends what is under way.
    Cancel,
    /// Does again what failed.
    Retry,
    /// Shows what is under way and what is live.
    Status,
    /// Shows where the live model comes from.
    Why,
    /// Takes the lock of the target from whoever holds it.
    Unlock,
    /// Shows the verbs.
    Help,
}

impl Verb {
    /// Every verb, in the order of `/help`.
    pub const ALL: [Self; 15] = [
        Self::Build,
        Self::Run,
        Self::BuildRun,
        Self::Deploy,
        Self::StagingDeploy,
        Self::Ship,
        Self::Plan,
        Self::Promote,
        Self::Rollback,
        Self::Cancel,
        Self::Retry,
        Self::Status,
        Self::Why,
        Self::Unlock,
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
            Self::Plan => "plan",
            Self::Promote => "promote",
            Self::Rollback => "rollback",
            Self::Cancel => "cancel",
            Self::Retry => "retry",
            Self::Status => "status",
            Self::Why => "why",
            Self::Unlock => "unlock",
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
            Self::Deploy => "/deploy [--run-id R] [--force] [--canary 10,50]",
            Self::StagingDeploy => "/staging_deploy [--run-id R] [--canary 10,50]",
            Self::Ship => "/ship [--set k=v] [--force] [--canary 10,50]",
            Self::Plan => "/plan",
            Self::Promote => "/promote",
            Self::Rollback => "/rollback [--to REVISION]",
            Self::Cancel => "/cancel [COMMAND]",
            Self::Retry => "/retry [COMMAND]",
            Self::Status => "/status",
            Self::Why => "/why",
            Self::Unlock => "/unlock [production|staging]",
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
            Self::Plan => "shows what would be built, run and changed, and changes nothing",
            Self::Promote => "ends the canary of the deployment under way: the new model gets all traffic now",
            Self::Rollback => {
                "brings the last good model back to production, or the one of a revision, without a rebuild"
            }
            Self::Cancel => "ends what is under way in this pull request (all, or one command)",
            Self::Retry => "does again what failed of the last command, and nothing that succeeded",
            Self::Status => "shows the commands of this pull request, the locks, and what is live",
            Self::Why => "shows where the live model comes from, checked link by link",
            Self::Unlock => "takes the lock of a target from the command that holds it, and ends that command",
            Self::Help => "shows this",
        }
    }

    /// Whether it only reads.
    #[must_use]
    pub const fn only_reads(self) -> bool {
        matches!(self, Self::Status | Self::Help | Self::Plan | Self::Why)
    }

    /// Whether it acts on other commands, and so waits for none of them.
    #[must_use]
    pub const fn acts_on_commands(self) -> bool {
        matches!(self, Self::Promote | Self::Cancel | Self::Unlock)
    }

    /// Whether it uses the code of the pull request at its commit.
    #[must_use]
    pub const fn uses_code(self) -> bool {
        matches!(
            self,
            Self::Build | Self::Run | Self::BuildRun | Self::Deploy | Self::StagingDeploy | Self::Ship | Self::Plan
        )
    }

    /// Whether what it asks for depends on the commit, also by way of the command that it takes up again.
    #[must_use]
    pub const fn about_code(self) -> bool {
        self.uses_code() || matches!(self, Self::Retry)
    }

    /// Whether it waits for earlier commands of the pull request, and later ones wait for it.
    #[must_use]
    pub const fn takes_turns(self) -> bool {
        !self.only_reads() && !self.acts_on_commands()
    }

    /// Where it deploys to.
    #[must_use]
    pub const fn environment(self) -> Option<Environment> {
        match self {
            Self::Deploy | Self::Ship | Self::Rollback => Some(Environment::Production),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::help;

    #[test]
    fn every_verb_is_documented() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/commands.md");
        let pages = std::fs::read_to_string(path).unwrap();
        let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
        let help = help();
        for verb in Verb::ALL {
            let (name, usage) = (verb.as_str(), verb.usage());
            let section = pages.split(&format!("\n## {name}\n\n")).nth(1).unwrap_or_default();
            let section = section.split("\n## ").next().unwrap_or_default();
            assert!(section.starts_with(&format!("`{usage}` ")), "docs/commands.md: ## {name} begins with `{usage}`");
            assert!(section.contains(&format!("\n    /{name}")), "docs/commands.md: ## {name} has an example");
            assert!(pages.contains(&format!("| [`/{name}`](#{name}) |")), "docs/commands.md: no /{name} in the table");
            let row = format!("| `{}` | {} |", usage.replace('|', "\\|"), verb.summary());
            assert!(help.contains(&row), "/help: no /{name}");
            assert!(readme.contains(&format!("`/{name}")), "README.md: no /{name}");
        }
        assert!(readme.contains("(docs/commands.md)"));
    }
}
