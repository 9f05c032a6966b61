//! Where the parts of a running system are.

use serde::{Deserialize, Serialize};

/// `.kfops/endpoints.json`. All are base URLs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Endpoints {
    /// The gateway.
    pub api: String,
    /// The forge.
    pub forge: String,
    /// Envoy.
    pub models: String,
    /// The OCI registry, without scheme.
    pub registry: String,
    /// The trace store.
    pub traces: String,
    /// The repository whose pull requests these are, `owner/name`.
    pub repository: String,
    /// The process.
    pub pid: u32,
    /// gRPC addresses.
    pub services: ServiceEndpoints,
}

/// gRPC addresses of the services behind the gateway.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ServiceEndpoints {
    /// scm-bot.
    pub scm_bot: String,
    /// image-builder.
    pub image_builder: String,
    /// pipeline-runner.
    pub pipeline_runner: String,
    /// serving-deployer.
    pub serving_deployer: String,
}
