//! Puts the service together and serves it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use kfops_core::{Clock, Failure, SystemClock};
use kfops_proto::command::{
    command_service_server::CommandServiceServer, delivery_service_server::DeliveryServiceServer,
};
use kfops_rpc::{Lifecycle, ServeError};
use kfops_store::Store;
use kfops_telemetry::Tracer;
use tokio::{net::TcpListener, sync::watch};
use tonic::service::Routes;

use crate::{
    api::{Api, SERVICES},
    cluster::{ClusterLedger, LeaseElection, Term, Timing},
    command::Command,
    duty::Duty,
    engine::Engine,
    github::GitHubClient,
    housekeeping,
    intake::{Intake, Taken, Webhook},
    line::Line,
    local::{SqliteLedger, SystemEntropy},
    manners::Manners,
    ports::{Election, Entropy, GitHub, Ledger, Standing, Workers},
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
    /// Which of several processes over the same ledger drives; None: this one is alone.
    pub election: Option<Arc<dyn Election>>,
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
            election: None,
            github: Arc::new(GitHubClient::new(&settings.github, settings.timeouts.github.get(), Arc::clone(&clock))?),
            workers: Arc::new(GrpcWorkers::new(&settings.workers)?),
            store: Store::open(&settings.store)?,
            entropy: Arc::new(SystemEntropy),
            clock,
            tracer,
        })
    }

    /// The ports in a cluster, several replicas of this service over the same ledger: custom resources, a Lease, else as on one
    /// machine. Needs a tokio runtime; connects lazily.
    pub async fn cluster(settings: &Settings, tracer: Tracer) -> Result<Self, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let entropy = SystemEntropy;
        let client = kfops_kube::connect(&settings.kubernetes.clone().unwrap_or_default()).await?;
        let term = Term::default();
        let ledger = ClusterLedger::new(&client, Arc::clone(&clock), term.clone());
        let timing = Timing::default();
        let election = LeaseElection::new(&client, identity(&entropy), Arc::clone(&clock), term, timing);
        Ok(Self {
            ledger: Arc::new(ledger),
            election: Some(Arc::new(election)),
            github: Arc::new(GitHubClient::new(&settings.github, settings.timeouts.github.get(), Arc::clone(&clock))?),
            workers: Arc::new(GrpcWorkers::new(&settings.workers)?),
            store: Store::open(&settings.store)?,
            entropy: Arc::new(entropy),
            clock,
            tracer,
        })
    }
}

/// As whom this process stands for election: its pod, and that no process there had before.
fn identity(entropy: &dyn Entropy) -> String {
    let pod = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let unique: String = entropy.trace()[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}_{unique}", pod.trim())
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
    /// Another replica drives from now on: the process must end at once, with what it has begun.
    #[error("another replica drives from now on")]
    Deposed,
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
            freed: watch::channel(()).0,
            watchers: Mutex::default(),
            wishes: Mutex::default(),
            duty: if ports.election.is_some() { Duty::shared() } else { Duty::alone() },
        });
        engine.listen();
        let intake = Intake { engine: Arc::clone(&engine), entropy: ports.entropy };
        let standing = match &ports.election {
            None => {
                drive(&intake, engine.take_up().await?);
                None
            }
            Some(election) => {
                let standing = election.campaign();
                engine.lifecycle.spawn(drive_once_elected(intake.clone(), standing.clone()));
                Some(standing)
            }
        };
        Ok(Handle { intake, election: ports.election, standing })
    }

    /// Resumes open commands, then serves until the lifecycle stops.
    pub async fn serve(self, listener: TcpListener, lifecycle: Lifecycle) -> Result<(), ServiceError> {
        let patience = self.settings.timeouts.shutdown.get();
        let handle = self.start(lifecycle.clone()).await?;
        let (intake, tracer) = (handle.intake.clone(), handle.intake.engine.tracer.clone());
        let api = Api { engine: Arc::clone(&intake.engine), intake };
        let mut routes = Routes::builder();
        routes.add_service(CommandServiceServer::new(api.clone()));
        routes.add_service(DeliveryServiceServer::new(api).max_decoding_message_size(LARGEST_MESSAGE));
        let serving = async {
            let served = kfops_rpc::serve(listener, routes.routes(), SERVICES, &lifecycle).await;
            // Nobody else may drive before the last driver here has ended.
            if lifecycle.finish(patience).await {
                handle.resign().await;
            }
            tokio::task::spawn_blocking(move || tracer.flush()).await.ok();
            served
        };
        tokio::select! {
            biased;
            () = handle.deposed() => Err(ServiceError::Deposed),
            served = serving => Ok(served?),
        }
    }
}

/// What the process that drives does besides.
fn drive(intake: &Intake, whole: bool) {
    intake.engine.keep_driving(whole);
    housekeeping::start(&intake.engine);
    recovery::start(intake);
}

async fn drive_once_elected(intake: Intake, mut standing: watch::Receiver<Standing>) {
    let engine = &intake.engine;
    let stopping = engine.lifecycle.stopping();
    let taking_up = async {
        standing.wait_for(|standing| *standing != Standing::Waits).await.ok();
        loop {
            match engine.take_up().await {
                Ok(whole) => return whole,
                Err(failure) => tracing::warn!(%failure, "open commands cannot be taken up; tried again"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    if let Some(whole) = stopping.run_until_cancelled(taking_up).await {
        drive(&intake, whole);
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
pub struct Handle {
    intake: Intake,
    election: Option<Arc<dyn Election>>,
    standing: Option<watch::Receiver<Standing>>,
}

impl Handle {
    /// Takes a webhook; returns once it is stored durably.
    pub async fn take(&self, webhook: Webhook) -> Result<Taken, Failure> {
        self.intake.take(webhook).await
    }

    /// Asks that a command ends; `by` says who and how, for people.
    pub async fn cancel(&self, id: &str, by: &str) -> Result<Command, Failure> {
        self.intake.engine.cancel(id, by).await
    }

    /// Lets another process drive at once. Only when nothing is driven here any more.
    pub async fn resign(&self) {
        if let Some(election) = &self.election {
            election.resign().await;
        }
    }

    /// Until another process drives, which this one did before. Never, where it is alone.
    pub async fn deposed(&self) {
        if let Some(mut standing) = self.standing.clone()
            && standing.wait_for(|standing| *standing == Standing::Lost).await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }
}
