//! The gateway as a whole: built from settings and ports, then served.

use std::sync::Arc;

use kfops_core::Failure;
use kfops_rpc::Lifecycle;
use prost_reflect::DescriptorPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    access::Access,
    api::{GrpcFace, Upstream},
    cluster::Identity,
    ports::Ports,
    rest::Rest,
    routes::App,
    server,
    settings::Settings,
    webhook::Webhooks,
};

/// The gateway, built and not yet listening.
pub struct Service {
    settings: Settings,
    ports: Ports,
    access: Arc<Access>,
}

/// The gateway could not be started or broke.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Something it is made of cannot be used.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// The listener broke.
    #[error("serving: {0}")]
    Listener(#[from] std::io::Error),
}

impl Service {
    /// Checks the settings; connects to the cluster when it is first asked something.
    pub async fn build(mut settings: Settings, ports: Ports) -> Result<Self, Failure> {
        settings.validate()?;
        settings.webhook.read_secrets()?;
        let identity = match &settings.api.cluster {
            Some(cluster) => Some(Arc::new(Identity::new(cluster).await?)),
            None => None,
        };
        let access = Arc::new(Access::new(&settings.api, identity));
        Upstream::new(&settings.scm_bot, Arc::clone(&access), ports.clone(), CancellationToken::new())?;
        Ok(Self { settings, ports, access })
    }

    /// Serves until the lifecycle stops, then lets requests under way finish.
    pub async fn serve(self, listener: TcpListener, lifecycle: Lifecycle) -> Result<(), GatewayError> {
        let Self { settings, ports, access } = self;
        let pool = DescriptorPool::decode(kfops_proto::FILE_DESCRIPTOR_SET).map_err(Failure::internal)?;
        let upstream = Upstream::new(&settings.scm_bot, Arc::clone(&access), ports.clone(), lifecycle.stopping())?;
        let (call, stream) = (settings.api.call_timeout.get(), settings.api.stream_timeout.get());
        let grpc = Arc::new(GrpcFace::new(&pool, upstream.clone(), call, stream).await?);
        let app = App {
            access,
            webhooks: Webhooks::new(settings.webhook.clone(), upstream.clone(), ports, lifecycle.clone()),
            rest: Rest::new(&pool, upstream.clone(), &settings.api)?,
            grpc: Arc::clone(&grpc),
            upstream,
            lifecycle: lifecycle.clone(),
        };
        let limits = server::Limits {
            connections: settings.max_connections,
            header_timeout: settings.header_timeout.get(),
            patience: settings.patience.get(),
        };
        let health = async {
            lifecycle.stopping().cancelled().await;
            grpc.stopping().await;
        };
        let (served, ()) = tokio::join!(server::serve(listener, Arc::new(app), limits, &lifecycle), health);
        lifecycle.finish(settings.patience.get()).await;
        served.map_err(GatewayError::from)
    }
}
