//! The `sandbox` section of the pipeline runner's settings: what the pods look like in which pipelines compile.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use kfops_core::{Failure, Reason};
use kfops_settings::HumanDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How pipelines compile in a cluster: in pods that nothing can be reached from. Their Jobs are made in `namespace`, which
/// should enforce the Pod Security profile `restricted` and needs a NetworkPolicy without egress for them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SandboxSettings {
    /// Namespace of the Jobs. Unset: that of `kubernetes.namespace`, or this service's own.
    pub namespace: Option<String>,
    /// Image with a Python of 3.9 or newer that has kfp.
    pub image: String,
    /// That Python.
    pub python: String,
    /// User and group of the pods; not 0.
    pub user: u32,
    /// Whether the pod has to show that it reaches nothing before any of the repository's code runs.
    pub network: Network,
    /// Secrets with which nodes pull the image.
    pub image_pull_secrets: Vec<String>,
    /// CPU that is kept free for a compilation, and most that it may use; Kubernetes' quantities.
    pub cpu: Share,
    /// Memory that is kept free for a compilation. Most that it may use is `compile_memory_mib`.
    pub memory_request: String,
    /// Most disk of the repository's files, packed and unpacked; the node evicts what uses more.
    pub disk: String,
    /// Largest source archive, MiB: it goes through the Kubernetes API.
    pub max_source_mib: u64,
    /// Longest wait for a node to run the pod, images and quotas included, before its own time limit begins.
    pub start_timeout: HumanDuration,
    /// How long Kubernetes keeps a Job that has ended.
    pub keep: HumanDuration,
    /// Attempts in all; another one follows only when the cluster failed.
    pub attempts: u32,
    /// Service account of the pods; it needs no rights and its token is not mounted.
    pub service_account: Option<String>,
    /// Priority class of the pods.
    pub priority_class: Option<String>,
    /// Runtime class of the pods, e.g. gvisor.
    pub runtime_class: Option<String>,
    /// Nodes that may compile.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that compilations bear.
    pub tolerations: Vec<Toleration>,
    /// Labels of Jobs and pods, besides `app.kubernetes.io/component: compile`.
    pub labels: BTreeMap<String, String>,
}

/// See `SandboxSettings::network`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Nothing compiles where the Kubernetes API can be reached from the pod.
    #[default]
    Closed,
    /// Not looked at: for clusters whose network plugin lets every pod reach the Kubernetes API, or enforces no policies.
    Unproven,
}

/// A request and a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// What is kept free.
    pub request: String,
    /// Most that may be used.
    pub limit: String,
}

impl Default for SandboxSettings {
    fn default() -> Self {
        Self {
            namespace: None,
            image: String::new(),
            python: "python3".into(),
            user: 65532,
            network: Network::Closed,
            image_pull_secrets: Vec::new(),
            cpu: Share { request: "100m".into(), limit: "2".into() },
            memory_request: "256Mi".into(),
            disk: "2Gi".into(),
            max_source_mib: 256,
            start_timeout: HumanDuration::from_secs(600),
            keep: HumanDuration::from_secs(600),
            attempts: 3,
            service_account: None,
            priority_class: None,
            runtime_class: None,
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            labels: BTreeMap::new(),
        }
    }
}

impl SandboxSettings {
    /// Refuses what cannot work.
    pub(crate) fn validate(&self) -> Result<(), Failure> {
        let wrong = |field: &str, message: &str| {
            let failure = Failure::new(Reason::InvalidArgument, format!("sandbox.{field} {message}"));
            Err(failure.on(format!("sandbox.{field}")))
        };
        if self.image.trim().is_empty() {
            return wrong("image", "must name an image with Python and kfp");
        }
        if self.user == 0 {
            return wrong("user", "must not be 0: nothing of a pull request runs as root");
        }
        if self.max_source_mib == 0 || self.attempts == 0 {
            return wrong("max_source_mib", "and sandbox.attempts must be at least 1");
        }
        Ok(())
    }
}
