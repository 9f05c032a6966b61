//! Builds the container images of a commit. The source comes as an archive from the object store; all images of a build
//! are built at the same time, up to a limit, and pushed by digest. A digest over everything that goes into an image
//! decides whether it exists already: then nothing is built. On one machine the first of buildctl, buildah, podman and
//! docker that works builds, an embedded registry keeps the images, and the usual base images are made from Debian's
//! packages where no public registry answers. In a cluster each image is a Job with rootless BuildKit in a namespace for builds.

mod api;
mod build;
mod cluster;
mod content_digest;
mod context;
mod dockerfile;
mod engine;
mod explain;
mod image;
mod known;
mod local;
mod ports;
mod reference;
mod registry_client;
mod request;
mod settings;
mod steps;

use std::sync::Arc;

use kfops_core::Failure;
use kfops_proto::build::build_service_server::BuildServiceServer;
use kfops_rpc::{Lifecycle, ServeError};
use tokio::net::TcpListener;

use crate::{api::Api, engine::Engine};
pub use crate::{
    cluster::{BuildKitSettings, Fetcher, PatienceSettings, Resources, fetch_context, is_scan, scan},
    local::registry,
    ports::{Base, Builder, Job, Ports, Pushed, Registry, Repository, Target},
    reference::ImageName,
    settings::{
        BuilderChoice, EmbeddedRegistrySettings, HostFile, Isolation, LocalSettings, RegistrySettings, Settings,
        StandIn,
    },
};

/// The image builder, with its state opened.
pub struct Service {
    settings: Settings,
    ports: Ports,
}

/// The service could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its state cannot be used.
    #[error(transparent)]
    State(#[from] Failure),
    /// gRPC cannot be served.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

impl Service {
    /// Checks that the state can be opened. Does not listen yet.
    pub async fn build(settings: Settings, ports: Ports) -> Result<Self, Failure> {
        let (checked, owned) = (settings.clone(), ports.clone());
        tokio::task::spawn_blocking(move || Engine::open(checked, owned, Lifecycle::new()).map(drop))
            .await
            .map_err(Failure::internal)??;
        Ok(Self { settings, ports })
    }

    /// Goes on with open builds and serves until the lifecycle stops; builds under way then get some time to end.
    pub async fn serve(self, listener: TcpListener, lifecycle: Lifecycle) -> Result<(), Error> {
        let patience = self.settings.shutdown_patience.get();
        let engine = Arc::new(Engine::open(self.settings, self.ports, lifecycle.clone())?);
        engine.resume().await?;
        let mut routes = tonic::service::Routes::builder();
        routes.add_service(BuildServiceServer::new(Api { engine }));
        kfops_rpc::serve(listener, routes.routes(), &[api::SERVICE_NAME], &lifecycle).await?;
        if !lifecycle.finish(patience).await {
            tracing::info!("builds under way are resumed at the next start");
        }
        Ok(())
    }
}
