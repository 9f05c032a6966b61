//! Settings of the pipeline runner.

use std::{collections::BTreeMap, path::PathBuf};

use kfops_kube::KubernetesSettings;
use kfops_settings::HumanDuration;
use kfops_store::StoreSettings;
use kfops_telemetry::TelemetrySettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::cluster::{
    sandbox::settings::{Network as SandboxNetwork, SandboxSettings},
    settings::{ArtifactLocation, KfpSettings},
};

/// Settings of the pipeline runner.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Address of the gRPC server; port 0 picks a free one.
    pub listen: String,
    /// Spans and logs.
    pub telemetry: TelemetrySettings,
    /// Folder with the database and the files of what is being compiled and run.
    pub state: PathBuf,
    /// Object store: `file:///folder`, `s3://bucket/prefix`, or a mapping with `url`, `endpoint` and more.
    pub store: StoreSettings,
    /// Python with the packages kfp and scikit-learn (or whatever tasks import): compiles pipelines and runs tasks.
    pub python: PathBuf,
    /// Folders that the code of pull requests must not see. The state folder and the object store are hidden anyway.
    pub hide: Vec<PathBuf>,
    /// Longest time that compiling may take.
    pub compile_timeout: HumanDuration,
    /// Address space of a compiling process, MiB.
    pub compile_memory_mib: u64,
    /// Longest time that a run may take when it asks for no other.
    pub run_timeout: HumanDuration,
    /// Pipelines that compile at the same time.
    pub max_compiles: usize,
    /// Runs at the same time.
    pub max_runs: usize,
    /// Environment variables of tasks on one machine, besides the bare ones.
    pub task_environment: BTreeMap<String, String>,
    /// Keeps the artifacts of a run in the state folder after its end.
    pub keep_artifacts: bool,
    /// How long work may go on after the service was asked to stop. What is cut off starts again with the service.
    pub patience: HumanDuration,
    /// Kubeflow Pipelines. Set: pipelines run there instead of on this machine.
    pub kfp: Option<KfpSettings>,
    /// Pods for compiling. Set: pipelines compile there instead of on this machine.
    pub sandbox: Option<SandboxSettings>,
    /// The cluster, where `sandbox` is set, or `kfp` without a pipeline root.
    pub kubernetes: KubernetesSettings,
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
            listen: "127.0.0.1:9003".into(),
            telemetry: TelemetrySettings::default(),
            state: "/var/lib/kfops/pipeline-runner".into(),
            store: StoreSettings::default(),
            python: "python3".into(),
            hide: Vec::new(),
            compile_timeout: HumanDuration::from_secs(120),
            compile_memory_mib: 4096,
            run_timeout: HumanDuration::from_secs(3600),
            max_compiles: 2,
            max_runs: 2,
            task_environment: BTreeMap::new(),
            keep_artifacts: false,
            patience: HumanDuration::from_secs(10),
            kfp: None,
            sandbox: None,
            kubernetes: KubernetesSettings::default(),
        }
    }
}
