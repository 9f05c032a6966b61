//! The `kubernetes` section of a service's settings.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a service reaches the Kubernetes API. Empty in a pod: its service account is used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KubernetesSettings {
    /// A kubeconfig file; unset: the pod's service account. `KUBECONFIG` is not read: it may lead to another cluster.
    pub kubeconfig: Option<PathBuf>,
    /// The namespace for objects of the service's own; unset: that of the pod, or of the kubeconfig.
    pub namespace: Option<String>,
}
