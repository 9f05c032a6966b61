//! The ports over one machine.

pub(crate) mod base_image;
mod builders;
mod host_files;
mod jail;
pub mod registry;

use std::sync::Arc;

use kfops_core::{Failure, SystemClock};
use kfops_telemetry::Tracer;

use self::{builders::LocalBuilder, registry::Handle};
use crate::{
    ports::{Ports, Target},
    registry_client::RegistryClient,
    settings::Settings,
};

impl Ports {
    /// Everything from this machine. `embedded` is the running embedded registry, where there is one: images go there
    /// when a build and `registry.prefix` name no registry, and stand-in base images are served by it.
    pub fn local(settings: &Settings, tracer: Tracer, embedded: Option<Handle>) -> Result<Self, Failure> {
        let default_target = match &embedded {
            Some(handle) if settings.registry.prefix.is_empty() => Target { prefix: handle.host(), insecure: true },
            _ => Target { prefix: settings.registry.prefix.clone(), insecure: settings.registry.insecure },
        };
        let keeps_all = match &embedded {
            Some(handle) if settings.embedded_registry.for_all => {
                Some(Target { prefix: handle.host(), insecure: true })
            }
            _ => None,
        };
        let cache = settings.local.cache_folder();
        let stand_ins = Some(base_image::StandIns::new(settings.local.stand_in, cache, embedded.clone()));
        let builder = LocalBuilder::new(settings, embedded.as_ref().map(Handle::host));
        let registry = RegistryClient::new(settings.registry.auth_file.clone(), embedded.map(|e| e.host()), stand_ins)?;
        Ok(Self {
            builder: Arc::new(builder),
            registry: Arc::new(registry),
            default_target,
            keeps_all,
            tracer,
            clock: Arc::new(SystemClock),
        })
    }
}
