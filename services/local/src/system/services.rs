//! The five services in this process, each with its own state, tracer and address.

use std::{path::PathBuf, time::Duration};

use kfops_core::{Failure, Reason};
use kfops_image_builder::registry::{Handle as RegistryHandle, Registry};
use kfops_rpc::Lifecycle;
use kfops_settings::HumanDuration;
use kfops_telemetry::{TelemetrySettings, Tracer};
use tokio::{net::TcpListener, task::JoinHandle};

use super::{BOT, ServiceEndpoints, USER, bind};
use crate::{
    app::{self, App},
    layout::Layout,
    provision::Tools,
    secrets::Secrets,
};

/// What the services are started with.
pub(super) struct Start<'a> {
    pub(super) layout: &'a Layout,
    pub(super) tools: &'a Tools,
    pub(super) secrets: &'a Secrets,
    pub(super) app: &'a App,
    pub(super) github: &'a str,
    pub(super) traces: &'a str,
    pub(super) api: &'a str,
    pub(super) models: &'a str,
    pub(super) registry: &'a str,
}

/// The services, serving.
pub(super) struct Running {
    pub(super) api: String,
    pub(super) models: String,
    pub(super) registry: String,
    pub(super) addresses: ServiceEndpoints,
    /// In the order in which they are stopped.
    parts: Vec<Part>,
    registry_life: Lifecycle,
}

struct Part {
    name: &'static str,
    lifecycle: Lifecycle,
    task: JoinHandle<()>,
    tracer: Tracer,
}

impl Running {
    /// Starts the workers first, then scm-bot, then the gateway.
    pub(super) async fn start(start: Start<'_>) -> Result<Self, Failure> {
        let mut parts = Vec::new();
        let registry_life = Lifecycle::new();
        let (builder, registry) = start.image_builder(&mut parts, &registry_life).await?;
        let runner = start.pipeline_runner(&mut parts).await?;
        let (deployer, models) = start.serving_deployer(&mut parts).await?;
        let addresses = ServiceEndpoints {
            image_builder: builder,
            pipeline_runner: runner,
            serving_deployer: deployer,
            scm_bot: String::new(),
        };
        let scm_bot = start.scm_bot(&mut parts, &addresses).await?;
        let api = start.gateway(&mut parts, &scm_bot).await?;
        parts.reverse();
        let addresses = ServiceEndpoints { scm_bot, ..addresses };
        Ok(Self { api, models, registry: registry.host(), addresses, parts, registry_life })
    }

    /// Gateway first, workers last; each gets `patience` for what is under way.
    pub(super) async fn stop(self, patience: Duration) {
        for part in &self.parts {
            part.lifecycle.stop();
        }
        for part in self.parts {
            if tokio::time::timeout(patience + Duration::from_secs(20), part.task).await.is_err() {
                tracing::warn!(service = part.name, "did not stop in time");
            }
            let tracer = part.tracer;
            // A dead collector must not hold up the end.
            tokio::time::timeout(Duration::from_secs(5), tokio::task::spawn_blocking(move || tracer.flush()))
                .await
                .ok();
        }
        self.registry_life.finish(Duration::from_secs(2)).await;
    }
}

impl Start<'_> {
    async fn image_builder(
        &self,
        parts: &mut Vec<Part>,
        registry_life: &Lifecycle,
    ) -> Result<(String, RegistryHandle), Failure> {
        let mut settings = kfops_image_builder::Settings {
            telemetry: self.telemetry(),
            state: self.state("image-builder"),
            store: self.layout.store_url().into(),
            ..Default::default()
        };
        settings.local.cache = Some(self.layout.cache.clone());
        settings.embedded_registry.listen = self.registry.to_owned();
        settings.embedded_registry.folder = self.layout.of("registry");
        settings.embedded_registry.for_all = true;
        let registry = Registry::start(&settings.embedded_registry, registry_life.aborting()).await?;
        let tracer = self.tracer("kfops-image-builder")?;
        let ports = kfops_image_builder::Ports::local(&settings, tracer.clone(), Some(registry.clone()))?;
        let service = kfops_image_builder::Service::build(settings, ports).await?;
        let address =
            serve(parts, "image-builder", "127.0.0.1:0", tracer, |listener, life| service.serve(listener, life))
                .await?;
        Ok((address, registry))
    }

    async fn pipeline_runner(&self, parts: &mut Vec<Part>) -> Result<String, Failure> {
        let settings = kfops_pipeline_runner::Settings {
            telemetry: self.telemetry(),
            state: self.state("pipeline-runner"),
            store: self.layout.store_url().into(),
            python: self.tools.python.clone(),
            hide: vec![self.layout.state.clone()],
            ..Default::default()
        };
        let tracer = self.tracer("kfops-pipeline-runner")?;
        let ports = kfops_pipeline_runner::Ports::local(&settings, tracer.clone()).await?;
        let service = kfops_pipeline_runner::Service::build(settings, ports).await?;
        serve(parts, "pipeline-runner", "127.0.0.1:0", tracer, |listener, life| service.serve(listener, life)).await
    }

    async fn serving_deployer(&self, parts: &mut Vec<Part>) -> Result<(String, String), Failure> {
        let settings = kfops_serving_deployer::Settings {
            telemetry: self.telemetry(),
            state: self.state("serving-deployer"),
            store: self.layout.store_url().into(),
            listen_models: self.models.to_owned(),
            python: self.tools.python.clone(),
            envoy: self.tools.envoy.clone(),
            model_otlp_endpoint: Some(self.traces.to_owned()),
            hide: vec![self.layout.state.clone()],
            ..Default::default()
        };
        let tracer = self.tracer("kfops-serving-deployer")?;
        let ports = kfops_serving_deployer::Ports::local(&settings, tracer.clone()).await?;
        let service = kfops_serving_deployer::Service::build(settings, ports).await?;
        let address =
            serve(parts, "serving-deployer", "127.0.0.1:0", tracer, |listener, life| service.serve(listener, life))
                .await?;
        Ok((address, format!("http://{}", self.models)))
    }

    async fn scm_bot(&self, parts: &mut Vec<Part>, workers: &ServiceEndpoints) -> Result<String, Failure> {
        let mut settings = kfops_scm_bot::Settings {
            telemetry: self.telemetry(),
            state: self.state("scm-bot"),
            store: self.layout.store_url().into(),
            ..Default::default()
        };
        settings.public_url = Some(self.traces.to_owned());
        settings.github.api_url = self.github.to_owned();
        settings.github.app = Some(kfops_scm_bot::AppSettings {
            id: app::ID.to_string(),
            private_key: Some(self.app.private_key.clone()),
            ..Default::default()
        });
        settings.github.bot_login = Some(BOT.to_owned());
        // The forge on this machine has no secondary rate limit, and a person waits.
        settings.github.write_interval = HumanDuration::from_secs(1);
        settings.recovery.every = HumanDuration::from_secs(10);
        settings.workers.image_builder = workers.image_builder.clone();
        settings.workers.pipeline_runner = workers.pipeline_runner.clone();
        settings.workers.serving_deployer = workers.serving_deployer.clone();
        let tracer = self.tracer("kfops-scm-bot")?;
        let ports = kfops_scm_bot::Ports::local(&settings, tracer.clone())?;
        let service = kfops_scm_bot::Service::build(settings, ports).await?;
        serve(parts, "scm-bot", "127.0.0.1:0", tracer, |listener, life| service.serve(listener, life)).await
    }

    async fn gateway(&self, parts: &mut Vec<Part>, scm_bot: &str) -> Result<String, Failure> {
        let mut settings =
            kfops_gateway::Settings { telemetry: self.telemetry(), scm_bot: scm_bot.to_owned(), ..Default::default() };
        settings.webhook.secrets = vec![kfops_gateway::Secret::new(self.secrets.webhook.clone())];
        settings.api.loopback_user = Some(USER.to_owned());
        let tracer = self.tracer("kfops-gateway")?;
        let service = kfops_gateway::Service::build(settings, kfops_gateway::Ports::local(tracer.clone())).await?;
        serve(parts, "gateway", self.api, tracer, |listener, life| service.serve(listener, life)).await
    }

    fn telemetry(&self) -> TelemetrySettings {
        TelemetrySettings { otlp_endpoint: Some(self.traces.to_owned()), ..TelemetrySettings::default() }
    }

    fn tracer(&self, service: &str) -> Result<Tracer, Failure> {
        Tracer::new(service, Some(self.traces)).map_err(Failure::internal)
    }

    fn state(&self, service: &str) -> PathBuf {
        self.layout.of(service)
    }
}

/// Serves in a task of its own; the base URL.
async fn serve<F, Fut, E>(
    parts: &mut Vec<Part>,
    name: &'static str,
    address: &str,
    tracer: Tracer,
    serve: F,
) -> Result<String, Failure>
where
    F: FnOnce(TcpListener, Lifecycle) -> Fut,
    Fut: Future<Output = Result<(), E>> + Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    let (listener, bound) = bind(address).await?;
    let lifecycle = Lifecycle::new();
    let served = serve(listener, lifecycle.clone());
    let task = tokio::spawn(async move {
        if let Err(error) = served.await {
            tracing::error!(service = name, %error, reason = %Reason::Internal, "service ended");
        }
    });
    parts.push(Part { name, lifecycle, task, tracer });
    Ok(format!("http://{bound}"))
}
