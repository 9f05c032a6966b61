//! The binary `kfops-image-builder`.

use std::process::ExitCode;

use kfops_boot::Start;
use kfops_image_builder::{Ports, Service, Settings, registry::Registry};
use kfops_rpc::Lifecycle;

#[tokio::main]
async fn main() -> ExitCode {
    // In a build's pod: the build context comes from the object store.
    if std::env::args().nth(1).as_deref() == Some("fetch-context") {
        return kfops_image_builder::fetch_context().await;
    }
    // In a container of BuildKit: which packages an image holds.
    if kfops_image_builder::is_scan() {
        return kfops_image_builder::scan();
    }
    kfops_boot::run::<Settings, _>("image-builder", "Kfops' image-builder: builds container images", async |start| {
        let Start { settings, tracer, listener, lifecycle } = start;
        if settings.kubernetes.is_some() {
            let ports = Ports::cluster(&settings, tracer).await?;
            return Ok(Service::build(settings, ports).await?.serve(listener, lifecycle).await?);
        }
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
