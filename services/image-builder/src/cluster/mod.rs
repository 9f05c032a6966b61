//! The ports over Kubernetes: each image is a Job with rootless BuildKit, in a namespace for builds.
//!
//! Rights of the service account, in the namespace of the builds and nowhere else:
//!
//! | group | resource | verbs | for |
//! |---|---|---|---|
//! | `batch` | `jobs` | `create`, `get`, `list`, `watch`, `delete` | one Job per image |
//! | | `secrets` | `create`, `patch` | the signed URL of a build's context; the Job owns it. Secrets are not read |
//! | | `pods` | `list`, `watch` | why a build does not run |
//! | | `pods/log` | `get` | its log |
//! | | `events` | `list`, `watch` | why a pod is not made, not scheduled, not started |
//!
//! The pods of builds have a service account without any rights, and its token is not mounted.

mod builder;
mod fetch;
mod pack;
mod pod;
mod sbom;
mod settings;

use std::sync::Arc;

use kfops_core::{Failure, Reason, SystemClock};
use kfops_store::Store;
use kfops_telemetry::Tracer;

use self::builder::ClusterBuilder;
pub use self::{
    fetch::fetch_context,
    sbom::{is_scan, scan},
    settings::{BuildKitSettings, Fetcher, PatienceSettings, Resources},
};
use crate::{
    ports::{Ports, Target},
    registry_client::RegistryClient,
    settings::Settings,
};

impl Ports {
    /// Everything from the cluster of `settings.kubernetes`.
    pub async fn cluster(settings: &Settings, tracer: Tracer) -> Result<Self, Failure> {
        let wrong = |what: &str, message: &str| Failure::new(Reason::InvalidArgument, message).on(what);
        let Some(kubernetes) = &settings.kubernetes else {
            return Err(wrong("kubernetes", "the section `kubernetes` is missing"));
        };
        settings.buildkit.validate()?;
        if settings.registry.prefix.is_empty() {
            return Err(wrong("registry.prefix", "builds in a cluster have no embedded registry")
                .action("set registry.prefix, e.g. to registry.example.com/team"));
        }
        let store = Store::open(&settings.store)?;
        let client = kfops_kube::connect(kubernetes).await?;
        let builder = ClusterBuilder::new(client, settings, store)?;
        let registry = RegistryClient::new(settings.registry.auth_file.clone(), None, None)?;
        Ok(Self {
            builder: Arc::new(builder),
            registry: Arc::new(registry),
            default_target: Target { prefix: settings.registry.prefix.clone(), insecure: settings.registry.insecure },
            keeps_all: None,
            tracer,
            clock: Arc::new(SystemClock),
        })
    }
}
