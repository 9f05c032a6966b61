//! Settings of the service.

use std::{collections::BTreeMap, path::PathBuf};

use kfops_kube::KubernetesSettings;
use kfops_settings::HumanDuration;
use kfops_store::StoreSettings;
use kfops_telemetry::TelemetrySettings;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// Settings of scm-bot.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Address of the gRPC server.
    pub listen: String,
    /// Folder of the ledger.
    pub state: PathBuf,
    /// Object store for source archives and logs: `file:///folder`, `s3://bucket/prefix`, or a mapping with `url`, `endpoint` and more.
    pub store: StoreSettings,
    /// Where people reach Kfops; traces are linked as `{public_url}/traces/{trace_id}`. Unset: no links.
    pub public_url: Option<String>,
    /// GitHub, or something that speaks as it does.
    pub github: GitHubSettings,
    /// Addresses of the workers.
    pub workers: WorkerSettings,
    /// Who may deploy where.
    pub targets: TargetSettings,
    /// How long things may take.
    pub timeouts: TimeoutSettings,
    /// How long the ledger remembers.
    pub ledger: LedgerSettings,
    /// Where custom resources in Kubernetes are the ledger: several replicas may run then, of which one drives. Unset: the ledger
    /// is a folder (`state`), for one process.
    pub kubernetes: Option<KubernetesSettings>,
    /// Deliveries that never arrived.
    pub recovery: RecoverySettings,
    /// Spans and logs.
    pub telemetry: TelemetrySettings,
}

/// The `github` section.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GitHubSettings {
    /// Base of the REST API: `https://api.github.com`, `https://api.TENANT.ghe.com`, or `https://HOST/api/v3` of a GitHub
    /// Enterprise Server.
    pub api_url: String,
    /// PEM file with certificates that are trusted besides those of the machine.
    pub ca_file: Option<PathBuf>,
    /// The GitHub App that the bot is.
    pub app: Option<AppSettings>,
    /// Token of the bot, where it is no App. Best given as the environment variable KFOPS_SCM_BOT_GITHUB__TOKEN.
    #[serde(skip_serializing)]
    #[schemars(with = "Option<String>")]
    pub token: Option<SecretString>,
    /// Login of the bot; unset: GitHub is asked at the start.
    pub bot_login: Option<String>,
    /// Repositories whose commands are taken, `owner/name` or `owner/*`. None: all that the credentials reach.
    pub allow: Vec<String>,
    /// Most answers in an hour to somebody without write permission. Further commands are taken, and not answered.
    pub answers_per_hour: usize,
    /// Repositories, `owner/name`, whose webhooks are asked for deliveries that never arrived. An App needs none: it knows
    /// where it is installed.
    pub repositories: Vec<String>,
    /// How pull requests are merged.
    pub merge_method: MergeMethod,
    /// Whether the bot may merge what the protection of a branch blocks: it is among those who may bypass it. Otherwise such
    /// a pull request is refused before anything goes live.
    pub bypasses_protection: bool,
    /// Shortest time between two writes of one live comment.
    pub write_interval: HumanDuration,
}

/// The `github.app` section.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AppSettings {
    /// Its id, or its client id.
    pub id: String,
    /// Its private key, PEM. Best given as the environment variable KFOPS_SCM_BOT_GITHUB__APP__PRIVATE_KEY.
    #[serde(skip_serializing)]
    #[schemars(with = "Option<String>")]
    pub private_key: Option<SecretString>,
    /// A file with it.
    pub private_key_path: Option<PathBuf>,
    /// The installation; unset: looked up for each account.
    pub installation_id: Option<u64>,
}

/// How pull requests are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MergeMethod {
    /// A merge commit.
    #[default]
    Merge,
    /// One commit of all.
    Squash,
    /// The commits on top of the base.
    Rebase,
}

impl MergeMethod {
    /// As GitHub writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Merge => "merge",
            Self::Squash => "squash",
            Self::Rebase => "rebase",
        }
    }
}

/// The `workers` section.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerSettings {
    /// Address of image-builder.
    pub image_builder: String,
    /// Address of pipeline-runner.
    pub pipeline_runner: String,
    /// Address of serving-deployer.
    pub serving_deployer: String,
}

/// The `targets` section.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TargetSettings {
    /// The repository, `owner/name`, that a target (`namespaces/NAMESPACE/inferenceServices/NAME`) belongs to: no other one
    /// deploys there. One that is not named belongs to the repository that deployed there last.
    pub owners: BTreeMap<String, String>,
}

/// The `timeouts` section.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutSettings {
    /// One request to GitHub.
    pub github: HumanDuration,
    /// How long a worker or GitHub may be away before a command fails for it.
    pub patience: HumanDuration,
    /// How long a stopping service waits for what is under way; the rest is resumed at the next start.
    pub shutdown: HumanDuration,
}

/// The `ledger` section.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerSettings {
    /// How long it is remembered that a delivery was taken. GitHub sends one again for some days.
    pub deliveries: HumanDuration,
    /// How long a command is remembered after its end. The last ones that deployed to each target stay for ever.
    pub commands: HumanDuration,
    /// How often the rest is forgotten. 0s: never.
    pub compact_every: HumanDuration,
}

/// The `recovery` section.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RecoverySettings {
    /// How often GitHub is asked what it sent. 0s: never.
    pub every: HumanDuration,
    /// How far back the first look after a start reaches; at most half of `ledger.deliveries`.
    pub window: HumanDuration,
    /// A comment that is found later than this starts nothing any more: its author is asked to write it again.
    pub oldest_comment: HumanDuration,
}

impl kfops_boot::ServiceSettings for Settings {
    fn listen(&self) -> &str {
        &self.listen
    }

    fn telemetry(&self) -> &TelemetrySettings {
        &self.telemetry
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:9001".into(),
            state: ".kfops/scm-bot".into(),
            store: StoreSettings::default(),
            public_url: None,
            github: GitHubSettings::default(),
            workers: WorkerSettings::default(),
            targets: TargetSettings::default(),
            timeouts: TimeoutSettings::default(),
            ledger: LedgerSettings::default(),
            kubernetes: None,
            recovery: RecoverySettings::default(),
            telemetry: TelemetrySettings::default(),
        }
    }
}

impl Default for GitHubSettings {
    fn default() -> Self {
        Self {
            api_url: "https://api.github.com".into(),
            ca_file: None,
            app: None,
            token: None,
            bot_login: None,
            allow: Vec::new(),
            answers_per_hour: 20,
            repositories: Vec::new(),
            merge_method: MergeMethod::default(),
            bypasses_protection: false,
            write_interval: HumanDuration::from_secs(5),
        }
    }
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            image_builder: "http://127.0.0.1:9002".into(),
            pipeline_runner: "http://127.0.0.1:9003".into(),
            serving_deployer: "http://127.0.0.1:9004".into(),
        }
    }
}

impl Default for TimeoutSettings {
    fn default() -> Self {
        Self {
            github: HumanDuration::from_secs(30),
            patience: HumanDuration::from_secs(600),
            shutdown: HumanDuration::from_secs(10),
        }
    }
}

impl Default for LedgerSettings {
    fn default() -> Self {
        const DAY: u64 = 24 * 3600;
        Self {
            deliveries: HumanDuration::from_secs(30 * DAY),
            commands: HumanDuration::from_secs(180 * DAY),
            compact_every: HumanDuration::from_secs(3600),
        }
    }
}

impl Default for RecoverySettings {
    fn default() -> Self {
        Self {
            every: HumanDuration::from_secs(300),
            window: HumanDuration::from_secs(6 * 3600),
            oldest_comment: HumanDuration::from_secs(1800),
        }
    }
}
