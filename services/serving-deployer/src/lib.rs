//! The serving-deployer rolls models out to InferenceServices. It renders the repository's template, starts the new
//! revision beside the live one, proves that it answers the sample request through the route, shifts the traffic to
//! it in steps with a gate at each, and drains the old one; whatever goes wrong, the old one gets everything back. It
//! knows nothing of pull requests. On one machine a revision is a process of KServe's Python server behind Envoy; in a
//! cluster it is an InferenceService of KServe behind Istio's ingress gateway.

mod api;
mod cluster;
mod deployer;
mod driver;
pub mod gate;
mod local;
mod model;
mod plan;
pub mod ports;
pub mod proof;
mod request;
pub mod rollout;
pub mod service;
mod settings;
mod source;
mod spans;
pub mod template;
mod traffic;
mod watch;

use kfops_core::Failure;
use kfops_proto::serving::rollout_service_server::{RolloutServiceServer, SERVICE_NAME};
use kfops_rpc::Lifecycle;
use tokio::net::TcpListener;
use tonic::service::Routes;

pub use cluster::{KserveSettings, MetricsSettings, Mode};
pub use deployer::Deployer;
pub use ports::Ports;
pub use settings::Settings;

/// The service, not listening yet.
pub struct Service {
    settings: Settings,
    ports: Ports,
}

impl Service {
    /// Checks the settings and makes the state folder.
    pub async fn build(settings: Settings, ports: Ports) -> Result<Self, Failure> {
        settings.check()?;
        let state = &settings.state;
        tokio::fs::create_dir_all(state)
            .await
            .map_err(|error| Failure::internal(format!("cannot make the state folder {}: {error}", state.display())))?;
        Ok(Self { settings, ports })
    }

    /// Starts the router and what was live, resumes open rollouts, serves until the lifecycle stops, then ends every
    /// child. What was under way is resumed by the next start.
    pub async fn serve(self, listener: TcpListener, lifecycle: Lifecycle) -> Result<(), Failure> {
        let patience = self.settings.patience.get();
        let deployer = Deployer::open(self.settings.clone(), self.ports.clone(), lifecycle.clone())?;
        let served = self.run(listener, deployer, &lifecycle).await;
        lifecycle.finish(patience).await;
        self.ports.router.close().await;
        self.ports.runtime.close().await;
        served
    }

    async fn run(&self, listener: TcpListener, deployer: Deployer, lifecycle: &Lifecycle) -> Result<(), Failure> {
        self.ports.router.open().await?;
        deployer.resume().await?;
        let routes = Routes::new(RolloutServiceServer::new(api::Api(deployer)));
        kfops_rpc::serve(listener, routes, &[SERVICE_NAME], lifecycle).await.map_err(Failure::internal)
    }
}
