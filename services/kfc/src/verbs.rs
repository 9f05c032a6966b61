//! The verbs that start a command, with their arguments as in a comment.

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Builds the images and compiles the pipeline of a pull request.
    Build {
        /// Only these images.
        images: Vec<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Runs the version last built in a pull request.
    Run {
        #[command(flatten)]
        set: SetFlags,
        /// Runs this version.
        #[arg(long, value_name = "ID")]
        version_id: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Builds, then runs.
    #[command(name = "build_run", visible_alias = "build-run")]
    BuildRun {
        #[command(flatten)]
        set: SetFlags,
        #[command(flatten)]
        common: Common,
    },
    /// Deploys the model of the last run to production, then merges.
    Deploy {
        #[command(flatten)]
        deploy: DeployFlags,
        /// Even if the pull request is behind its base.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Deploys the model of the last run to staging.
    #[command(name = "staging_deploy", visible_alias = "staging-deploy")]
    StagingDeploy {
        #[command(flatten)]
        deploy: DeployFlags,
        /// Of Kfops 1: changes nothing, a deployment to staging merges nothing and may be behind its base.
        #[arg(long, hide_short_help = true)]
        force: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Builds, runs and deploys to production as one command.
    Ship {
        #[command(flatten)]
        set: SetFlags,
        /// Even if the pull request is behind its base.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        canary: CanaryFlag,
        #[command(flatten)]
        common: Common,
    },
    /// Shows what `ship` would build, run and change, and changes nothing.
    Plan {
        #[command(flatten)]
        common: Common,
    },
    /// Ends the canary of a deployment under way: the new model gets all traffic now.
    Promote {
        #[command(flatten)]
        common: Common,
    },
    /// Brings an earlier model back to production, without a rebuild.
    Rollback {
        /// The revision whose model comes back; else the last good one.
        #[arg(long, value_name = "REVISION")]
        to: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Ends a command, or everything that is under way in a pull request.
    Cancel {
        /// Id or full name of a command, or `latest`.
        command: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Does again what failed, and nothing that succeeded.
    Retry {
        /// Id or full name of a command, or `latest`; else the last one of the pull request.
        command: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Shows what is built, run and live, and the locks, also in the pull request.
    Status {
        #[command(flatten)]
        common: Common,
    },
    /// Shows where a live model comes from, checked link by link.
    Why {
        /// Name of the model (its InferenceService), or number of a pull request.
        #[arg(value_name = "MODEL|PR")]
        model: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Takes the lock of a target from the command that holds it, and ends that command.
    Unlock {
        /// Whose lock.
        #[arg(value_enum, default_value_t = Target::Production)]
        target: Target,
        #[command(flatten)]
        common: Common,
    },
}

/// A place that a model is deployed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    Production,
    Staging,
}

#[derive(Debug, Args)]
pub(crate) struct CanaryFlag {
    /// Percentages of the traffic before all of it, instead of those of kfops.yaml; 0 for none.
    #[arg(long, value_name = "10,50")]
    canary: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SetFlags {
    /// Sets a pipeline parameter. May be given several times.
    #[arg(long, value_name = "KEY=VALUE", num_args = 1..)]
    set: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DeployFlags {
    /// Deploys the model of this run.
    #[arg(long, value_name = "ID")]
    run_id: Option<String>,
    #[command(flatten)]
    canary: CanaryFlag,
}

/// What a verb is about, besides the words after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The pull request of `--pr`.
    PullRequest,
    /// A command, by which the pull request is found.
    Command(String),
    /// A live model, by which the pull request is found.
    Model(String),
}

/// What every verb takes.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The pull request.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pr: Option<u32>,
    /// The repository; else the one of `kfc local up`, else the work tree's `origin`.
    #[arg(long, env = "KFOPS_REPO", value_name = "OWNER/NAME")]
    pub(crate) repo: Option<String>,
    /// Waits for the end and shows each step.
    #[arg(short, long, visible_alias = "wait-until-complete")]
    pub(crate) wait: bool,
    /// Of Kfops 1: ignored, namespaces stand in kfops.yaml.
    #[arg(short, long, hide_short_help = true)]
    pub(crate) namespace: Option<String>,
    /// Of Kfops 1: ignored, see --server.
    #[arg(long, value_name = "URL", hide_short_help = true)]
    pub(crate) kubeflow_url: Option<String>,
    /// Of Kfops 1: refused, a command takes kfops.yaml from its commit.
    #[arg(short = 'o', long, value_name = "FILE", hide_short_help = true)]
    pub(crate) config_override: Option<String>,
}

impl Verb {
    /// As in the API, the words after it, and what every verb takes.
    pub(crate) fn parts(self) -> (&'static str, Vec<String>, Common) {
        match self {
            Self::Build { images, common } => ("VERB_BUILD", images, common),
            Self::Run { set, version_id, common } => {
                let words = set.words().chain(option("--version-id", version_id)).collect();
                ("VERB_RUN", words, common)
            }
            Self::BuildRun { set, common } => ("VERB_BUILD_RUN", set.words().collect(), common),
            Self::Deploy { deploy, force, common } => ("VERB_DEPLOY", deploy.words(force).collect(), common),
            Self::StagingDeploy { deploy, force, common } => {
                ("VERB_STAGING_DEPLOY", deploy.words(force).collect(), common)
            }
            Self::Ship { set, force, canary, common } => {
                let words = set.words().chain(flag("--force", force)).chain(canary.words()).collect();
                ("VERB_SHIP", words, common)
            }
            Self::Plan { common } => ("VERB_PLAN", Vec::new(), common),
            Self::Promote { common } => ("VERB_PROMOTE", Vec::new(), common),
            Self::Rollback { to, common } => ("VERB_ROLLBACK", option("--to", to).collect(), common),
            Self::Cancel { command, common } => ("VERB_CANCEL", command.into_iter().collect(), common),
            Self::Retry { command, common } => ("VERB_RETRY", command.into_iter().collect(), common),
            Self::Status { common } => ("VERB_STATUS", Vec::new(), common),
            Self::Why { common, .. } => ("VERB_WHY", Vec::new(), common),
            Self::Unlock { target, common } => {
                let target = if target == Target::Staging { "staging" } else { "production" };
                ("VERB_UNLOCK", vec![target.to_owned()], common)
            }
        }
    }

    /// What it is about.
    pub(crate) fn subject(&self) -> Subject {
        match self {
            Self::Cancel { command: Some(command), .. } | Self::Retry { command: Some(command), .. } => {
                Subject::Command(command.clone())
            }
            Self::Why { model: Some(model), .. } => Subject::Model(model.clone()),
            _ => Subject::PullRequest,
        }
    }

    /// Whether it answers at once, so that waiting for it goes without saying.
    pub(crate) const fn answers(&self) -> bool {
        matches!(self, Self::Plan { .. } | Self::Status { .. } | Self::Why { .. })
    }
}

impl SetFlags {
    fn words(self) -> impl Iterator<Item = String> {
        self.set.into_iter().map(|pair| format!("--set={pair}"))
    }
}

impl DeployFlags {
    fn words(self, force: bool) -> impl Iterator<Item = String> {
        option("--run-id", self.run_id).chain(flag("--force", force)).chain(self.canary.words())
    }
}

impl CanaryFlag {
    fn words(self) -> impl Iterator<Item = String> {
        option("--canary", self.canary)
    }
}

fn option(name: &str, value: Option<String>) -> impl Iterator<Item = String> {
    value.map(|value| format!("{name}={value}")).into_iter()
}

fn flag(name: &str, set: bool) -> impl Iterator<Item = String> {
    set.then(|| name.to_owned()).into_iter()
}
