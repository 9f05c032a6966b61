//! The verbs that start a command, with their arguments as in a comment.

use clap::{Args, Subcommand};

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
        #[command(flatten)]
        common: Common,
    },
    /// Deploys the model of the last run to staging.
    #[command(name = "staging_deploy", visible_alias = "staging-deploy")]
    StagingDeploy {
        #[command(flatten)]
        deploy: DeployFlags,
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
        common: Common,
    },
    /// Says in the pull request what is built, run and live.
    Status {
        #[command(flatten)]
        common: Common,
    },
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
    /// Even if the pull request is behind its base.
    #[arg(long)]
    force: bool,
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
            Self::Deploy { deploy, common } => ("VERB_DEPLOY", deploy.words().collect(), common),
            Self::StagingDeploy { deploy, common } => ("VERB_STAGING_DEPLOY", deploy.words().collect(), common),
            Self::Ship { set, force, common } => {
                ("VERB_SHIP", set.words().chain(flag("--force", force)).collect(), common)
            }
            Self::Status { common } => ("VERB_STATUS", Vec::new(), common),
        }
    }
}

impl SetFlags {
    fn words(self) -> impl Iterator<Item = String> {
        self.set.into_iter().map(|pair| format!("--set={pair}"))
    }
}

impl DeployFlags {
    fn words(self) -> impl Iterator<Item = String> {
        option("--run-id", self.run_id).chain(flag("--force", self.force))
    }
}

fn option(name: &str, value: Option<String>) -> impl Iterator<Item = String> {
    value.map(|value| format!("{name}={value}")).into_iter()
}

fn flag(name: &str, set: bool) -> impl Iterator<Item = String> {
    set.then(|| name.to_owned()).into_iter()
}
