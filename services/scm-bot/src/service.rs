//! Puts the service together and serves it.

use std::sync::{Arc, Mutex};

use kfops_core::{Clock, Failure, SystemClock};
use kfops_proto::command::{
    command_service_server::CommandServiceServer, delivery_service_server::DeliveryServiceServer,
};
use kfops_rpc::{Lifecycle, ServeError};
use kfops_store::Store;
use kfops_telemetry::Tracer;
use tokio::net::TcpListener;
use tonic::service::Routes;

use crate::{
    api::{Api, SERVICES},
    command::Command,
    engine::Engine,
    github::GitHubClient,
    housekeeping,
    intake::{Intake, Taken, Webhook},
    line::Line,
    local::{SqliteLedger, SystemEntropy},
    manners::Manners,
    ports::{Entropy, GitHub, Ledger, Workers},
    recovery,
    settings::Settings,
    workers::GrpcWorkers,
};

/// GitHub's payloads have at most 25 MB; the message around them is small.
const LARGEST_MESSAGE: usize = 26 << 20;

/// What the service needs from outside.
pub struct Ports {
    /// What is remembered.
    pub ledger: Arc<dyn Ledger>,
    /// GitHub.
    pub github: Arc<dyn GitHub>,
    /// The workers.
    pub workers: Arc<dyn Workers>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Trace ids.
    pub entropy: Arc<dyn Entropy>,
    /// Source archives and logs.
    pub store: Store,
    /// Spans.
    pub tracer: Tracer,
}

impl Ports {
    /// The ports over one machine: SQLite, files, GitHub (or a forge) and the workers at their addresses. Needs a tokio
    /// runtime; connects lazily.
    pub fn local(settings: &Settings, tracer: Tracer) -> Result<Self, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Ok(Self {
            ledger: Arc::new(SqliteLedger::open(&settings.state, clock.now())?),
            github: Arc::new(GitHubClient::new(&settings.github, settings.timeouts.github.get(), Arc::clone(&clock))?),
            workers: Arc::new(GrpcWorkers::new(&settings.workers)?),
            store: Store::open(&settings.store)?,
            entropy: Arc::new(SystemEntropy),
            clock,
            tracer,
        })
    }
}

/// The service could not go on.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The server broke.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The ledger cannot be read.
    #[error(transparent)]
    Resume(#[from] Failure),
}

/// scm-bot.
pub struct Service {
    settings: Settings,
    ports: Ports,
}

impl Service {
    /// Opens what it needs; does not listen yet.
    #[expect(clippy::unused_async, reason = "all services are built the same way")]
    pub async fn build(settings: Settings, ports: Ports) -> Result<Self, Failure> {
        settings.validate()?;
        Ok(Self { settings, ports })
    }

    /// Goes on with open commands, without a server: for `serve`, and for whoever calls it in the same process.
    pub async fn start(self, lifecycle: Lifecycle) -> Result<Handle, Failure> {
        let Self { mut settings, ports } = self;
        settings.github.bot_login = Some(login(&settings, ports.github.as_ref()).await);
        let engine = Arc::new(Engine {
            settings,
            ledger: ports.ledger,
            github: ports.github,
            workers: ports.workers,
            clock: ports.clock,
            store: ports.store,
            tracer: ports.tracer,
            lifecycle,
            turns: Line::default(),
            manners: Manners::default(),
            freed: tokio::sync::watch::channel(()).0,
            watchers: Mutex::default(),
            wishes: Mutex::default(),
        });
        engine.resume().await?;
        engine.keep_driving();
        housekeeping::start(&engine);
        let intake = Intake { engine, entropy: ports.entropy };
        recovery::start(&intake);
        Ok(Handle(intake))
    }

    /// Resumes open commands, then serves until the lifecycle stops.
    pub async fn serve(self, listener: TcpListener, lifecycle: Lifecycle) -> Result<(), ServiceError> {
        let patience = self.settings.timeouts.shutdown.get();
        let Handle(intake) = self.start(lifecycle.clone()).await?;
        let tracer = intake.engine.tracer.clone();
        let api = Api { engine: Arc::clone(&intake.engine), intake };
        let mut routes = Routes::builder();
        routes.add_service(CommandServiceServer::new(api.clone()));
        routes.add_service(DeliveryServiceServer::new(api).max_decoding_message_size(LARGEST_MESSAGE));
        let served = kfops_rpc::serve(listener, routes.routes(), SERVICES, &lifecycle).await;
        lifecycle.finish(patience).await;
        tokio::task::spawn_blocking(move || tracer.flush()).await.ok();
        Ok(served?)
    }
}

/// As whom the bot speaks. That GitHub is away must not keep it from starting: then what its comments begin with tells them
/// from people's.
async fn login(settings: &Settings, github: &dyn GitHub) -> String {
    const FALLBACK: &str = "kfops[bot]";
    if let Some(login) = &settings.github.bot_login {
        return login.clone();
    }
    match tokio::time::timeout(settings.timeouts.shutdown.get(), github.login()).await {
        Ok(Ok(Some(login))) => return login,
        Ok(Ok(None)) => {}
        Ok(Err(failure)) => tracing::warn!(%failure, login = FALLBACK, "github did not say who the bot is"),
        Err(_) => tracing::warn!(login = FALLBACK, "github did not say in time who the bot is"),
    }
    FALLBACK.to_owned()
}

/// The running service, to talk to in the same process. Cheap to clone.
#[derive(Clone)]
pub struct Handle(Intake);

impl Handle {
    /// Takes a webhook; returns once it is stored durably.
    pub async fn take(&self, webhook: Webhook) -> Result<Taken, Failure> {
        self.0.take(webhook).await
    }

    /// Asks that a command ends; `by` says who and how, for people.
    pub async fn cancel(&self, id: &str, by: &str) -> Result<Command, Failure> {
        self.0.engine.cancel(id, by).await
    }
}
