//! The `kfp` section of the pipeline runner's settings.

use std::path::PathBuf;

use kfops_core::{Failure, Reason};
use kfops_settings::HumanDuration;
use kfops_store::StoreSettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Kubeflow Pipelines, 2.17 or the release after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KfpSettings {
    /// Address of the API server, without `/apis`.
    pub url: String,
    /// The profile's namespace that runs belong to; unset where KFP is installed for one user.
    pub namespace: Option<String>,
    /// File with the token that is shown to KFP: a projected one with the audience `pipelines.kubeflow.org`. It is read anew
    /// for each request. Unset where KFP asks for none.
    pub token: Option<PathBuf>,
    /// The experiment of runs that name none; made when it is missing.
    pub experiment: String,
    /// Service account of a run's pods; unset: KFP's own choice.
    pub service_account: Option<String>,
    /// Where artifacts go, e.g. `minio://mlpipeline/v2/artifacts`. Unset: as the ConfigMap `kfp-launcher` of the namespace
    /// says, then what KFP does without it.
    pub pipeline_root: Option<String>,
    /// The object store of the pipeline root, as this service reaches it: `s3://` with the pipeline root's bucket, or a mapping
    /// with the endpoint and where its credentials are, as for `store`.
    pub artifacts: StoreSettings,
    /// Where artifacts are found: `auto` asks KFP for its version, `path` is the way up to 2.17, `view` that of later ones.
    pub artifact_location: ArtifactLocation,
    /// Address of ML Metadata's gRPC server, which holds the metrics of runs up to 2.17. Unset, or away: runs have none.
    pub metadata: Option<String>,
    /// How often a run is looked at.
    pub poll: HumanDuration,
    /// Most requests in a second. KFP itself makes five in a second to Kubernetes.
    pub requests_per_second: f64,
    /// Longest wait for an answer. Terminating a run whose workflow is gone takes 11 s.
    pub request_timeout: HumanDuration,
    /// How long a run that KFP may have made without saying so is looked for.
    pub look_up: HumanDuration,
    /// How long KFP may be away or refuse before a run is given up.
    pub patience: HumanDuration,
    /// How long a terminated run may take to end.
    pub terminate: HumanDuration,
}

/// See `KfpSettings::artifact_location`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ArtifactLocation {
    /// By the version that KFP reports.
    #[default]
    Auto,
    /// By the paths that KFP writes to.
    Path,
    /// By `runs/{id}?view=FULL`.
    View,
}

impl Default for KfpSettings {
    fn default() -> Self {
        Self {
            url: "http://ml-pipeline.kubeflow.svc.cluster.local:8888".into(),
            namespace: None,
            token: None,
            experiment: "kfops".into(),
            service_account: None,
            pipeline_root: None,
            artifacts: "s3://mlpipeline".into(),
            artifact_location: ArtifactLocation::Auto,
            metadata: Some("http://metadata-grpc-service.kubeflow.svc.cluster.local:8080".into()),
            poll: HumanDuration::from_secs(2),
            requests_per_second: 5.0,
            request_timeout: HumanDuration::from_secs(30),
            look_up: HumanDuration::from_secs(30),
            patience: HumanDuration::from_secs(600),
            terminate: HumanDuration::from_secs(120),
        }
    }
}

impl KfpSettings {
    /// Refuses what cannot work.
    pub(crate) fn validate(&self) -> Result<(), Failure> {
        let wrong = |field: &str, message: &str| {
            Err(Failure::new(Reason::InvalidArgument, format!("kfp.{field} {message}")).on(format!("kfp.{field}")))
        };
        if !self.url.starts_with("http://") && !self.url.starts_with("https://") {
            return wrong("url", "must begin with http:// or https://");
        }
        if !(0.1..=1000.0).contains(&self.requests_per_second) {
            return wrong("requests_per_second", "must be between 0.1 and 1000");
        }
        if self.poll.get().is_zero() || self.request_timeout.get().is_zero() {
            return wrong("poll", "and kfp.request_timeout must be longer than 0 s");
        }
        if self.experiment.trim().is_empty() {
            return wrong("experiment", "must not be empty");
        }
        Ok(())
    }
}
