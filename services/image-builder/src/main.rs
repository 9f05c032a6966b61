//! The binary `kfops-image-builder`.

use std::process::ExitCode;

use kfops_boot::Start;
use kfops_image_builder::{Ports, Service, Settings, registry::Registry};
use kfops_rpc::Lifecycle;

#[tokio::main]
async fn main() -> ExitCode {
    kfops_boot::run::<Settings, _>("image-builder", "Kfops' image-builder: builds container images", async |start| {
        let Start { settings, tracer, listener, lifecycle } = start;
        // Builds that end during the shutdown still push, so the registry ends last.
        let registry = Lifecycle::new();
        let embedded = match settings.registry.prefix.as_str() {
            "" => Some(Registry::start(&settings.embedded_registry, registry.stopping()).await?),
            _ => None,
        };
        let ports = Ports::local(&settings, tracer, embedded)?;
        let served = Service::build(settings, ports).await?.serve(listener, lifecycle).await;
        registry.stop();
        Ok(served?)
    })
    .await
}
