//! The running system: everything started in the order of its arrows, ended in the opposite one.

mod endpoints;
mod ports;
mod repository;
mod services;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use kfops_core::{Failure, Reason};
use kfops_forge::{Forge, Role};
use kfops_proto::serving::{ListInferenceServicesRequest, rollout_service_client::RolloutServiceClient};
use kfops_rpc::{Deadlines, Lifecycle};
use secrecy::SecretString;
use serde_json::{Value as Json, json};

pub use endpoints::{Endpoints, ServiceEndpoints};
use ports::Ports;
pub use repository::repository_of_folder;
use services::Running;

use crate::{
    app::{self, App},
    collector,
    layout::Layout,
    provision::Tools,
    secrets::Secrets,
};

/// Login of the person at this machine.
pub const USER: &str = "author";
/// Login of the bot.
pub const BOT: &str = "kfops[bot]";

const REPOSITORY_FILE: &str = "repository";
/// Key of the repository's webhook, before there was an App.
const OLD_HOOK: &str = "kfops";

/// How to start.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// First of five ports: forge, API, models, registry, traces. 0: free ones, the same at the next start where they are free then.
    pub port: u16,
    /// A file that the forge appends its exchanges to. For tests.
    pub forge_log: Option<PathBuf>,
    /// Whether others on this machine may have the forge misbehave. For tests.
    pub forge_faults: bool,
}

/// Everything, running.
pub struct System {
    layout: Layout,
    secrets: Secrets,
    endpoints: Endpoints,
    forge: Forge,
    services: Running,
    collector: Lifecycle,
}

impl System {
    /// Starts everything. Work that was under way in this state goes on at once; webhooks wait for `import`.
    pub async fn start(layout: Layout, tools: Tools, options: Options) -> Result<Self, Failure> {
        let ports = Ports::choose(options.port, &layout.of("ports.json")).await?;
        let secrets = Secrets::open(&layout.of("secrets.json"))?;
        let collector_life = Lifecycle::new();
        let traces = {
            let (listener, _) = bind(&ports.traces).await?;
            collector::start(listener, &layout.of("traces.db"), &collector_life)?
        };
        let forge_settings = kfops_forge::Settings {
            listen: ports.forge.parse().map_err(Failure::internal)?,
            hold_deliveries: true,
            local_user: USER.into(),
            exchange_log: options.forge_log,
            fault_admin: options.forge_faults,
            ..kfops_forge::Settings::new(layout.of("forge"))
        }
        .account(USER, Role::Admin, secrets.user_token.as_str());
        let app = App::open(&layout.of("github-app.pem"))?;
        let forge = Forge::start(forge_settings).await?;
        let known = Self::repository_of(&layout);
        if let Err(failure) = set_up(&forge, &app, &ports.api, &secrets, known.as_deref()).await {
            forge.stop().await;
            return Err(failure);
        }
        let traces = format!("http://{traces}");
        let start = services::Start {
            layout: &layout,
            tools: &tools,
            secrets: &secrets,
            app: &app,
            github: &forge.api_url(),
            traces: &traces,
            api: &ports.api,
            models: &ports.models,
            registry: &ports.registry,
        };
        let services = match Running::start(start).await {
            Ok(services) => services,
            Err(failure) => {
                forge.stop().await;
                return Err(failure);
            }
        };
        let endpoints = Endpoints {
            api: services.api.clone(),
            forge: forge.url().to_owned(),
            models: services.models.clone(),
            registry: services.registry.clone(),
            traces,
            repository: String::new(),
            pid: std::process::id(),
            services: services.addresses.clone(),
        };
        Ok(Self { layout, secrets, endpoints, forge, services, collector: collector_life })
    }

    /// Where everything is.
    #[must_use]
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// The forge's token of the person at this machine.
    #[must_use]
    pub fn user_token(&self) -> &str {
        &self.secrets.user_token
    }

    /// Brings a repository's branches to the forge, installs the App there and lets webhooks flow; the default branch
    /// there. Idempotent.
    pub async fn import(&self, full_name: &str, repository: &Path) -> Result<String, Failure> {
        let (owner, name) = full_name.split_once('/').unwrap_or(("local", full_name));
        let imported = self.forge.import_repository(owner, name, repository).await?;
        for branch in &imported.diverged {
            tracing::warn!(branch, "has other commits at the forge and stays as it is there");
        }
        self.forge.install_app(app::ID, owner, &[]).await?;
        // State of a version whose bot was no App.
        self.forge.hand_over_hook(owner, name, OLD_HOOK, BOT).await?;
        self.forge.deliver();
        let path = self.layout.of(REPOSITORY_FILE);
        let written = tokio::fs::write(&path, full_name).await;
        written.map_err(|error| Failure::new(Reason::StoreUnavailable, format!("{}: {error}", path.display())))?;
        Ok(imported.default_branch)
    }

    /// The repository that this state was made for, `owner/name`, if it was used before.
    #[must_use]
    pub fn repository_of(layout: &Layout) -> Option<String> {
        std::fs::read_to_string(layout.of(REPOSITORY_FILE)).ok().filter(|name| name.contains('/'))
    }

    /// Writes `endpoints.json`, from which `kfc` learns where the system is.
    pub async fn publish(&self, repository: &str) -> Result<(), Failure> {
        let path = self.layout.of("endpoints.json");
        let temporary = path.with_extension("new");
        let endpoints = Endpoints { repository: repository.to_owned(), ..self.endpoints.clone() };
        let text = serde_json::to_vec_pretty(&endpoints).map_err(Failure::internal)?;
        let write = async {
            tokio::fs::write(&temporary, text).await?;
            tokio::fs::rename(&temporary, &path).await
        };
        write.await.map_err(|error| {
            Failure::new(Reason::StoreUnavailable, format!("cannot write {}: {error}", path.display()))
        })
    }

    /// Revisions of every InferenceService, for the report.
    pub async fn revisions(&self) -> Result<Vec<Json>, Failure> {
        let channel = kfops_rpc::connect(&self.endpoints.services.serving_deployer).map_err(Failure::internal)?;
        let mut client = RolloutServiceClient::new(channel);
        let request = kfops_rpc::request(
            ListInferenceServicesRequest { page_size: 100, ..Default::default() },
            None,
            Deadlines::CALL,
        );
        let services = client
            .list_inference_services(request)
            .await
            .map_err(|status| kfops_rpc::failure_of(&status))?
            .into_inner();
        let revision = |service: &str, r: kfops_proto::serving::Revision| {
            let model = r.model.unwrap_or_default();
            json!({"name": r.name, "inference_service": service, "state": r.state, "percent": r.percent,
                "model_uri": model.uri, "model_digest": model.digest, "run": r.run, "commit": r.commit})
        };
        Ok(services
            .inference_services
            .into_iter()
            .flat_map(|s| s.revisions.into_iter().map(|r| revision(&s.name, r)).collect::<Vec<_>>())
            .collect())
    }

    /// Two stages: no new work, then what is under way up to `patience`; children end last.
    pub async fn stop(self, patience: Duration) {
        tokio::fs::remove_file(self.layout.of("endpoints.json")).await.ok();
        self.forge.stop().await;
        self.services.stop(patience).await;
        self.collector.finish(Duration::from_secs(2)).await;
    }
}

/// Before the services start: they go on at once with what was under way, as the App.
async fn set_up(
    forge: &Forge,
    app: &App,
    api: &str,
    secrets: &Secrets,
    repository: Option<&str>,
) -> Result<(), Failure> {
    let secret = SecretString::from(secrets.webhook.clone());
    app.register(forge, &format!("http://{api}/webhooks/github"), &secret).await?;
    if let Some((owner, _)) = repository.and_then(|name| name.split_once('/')) {
        forge.install_app(app::ID, owner, &[]).await?;
    }
    Ok(())
}

async fn bind(address: &str) -> Result<(tokio::net::TcpListener, std::net::SocketAddr), Failure> {
    kfops_rpc::bind(address).await.map_err(|error| {
        Failure::new(Reason::InvalidArgument, format!("cannot listen on {address}: {error}"))
            .action("another kfc local may be running; choose other ports with --port")
    })
}
