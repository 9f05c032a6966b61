//! Envoy before the model servers: one process, kept running; weights change by replacing its xDS files.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use kfops_core::{Failure, Reason};
use kfops_process::LogTail;
use serde_json::Value;
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{admin::Admin, config, orphan};
use crate::{
    Settings,
    gate::Counters,
    ports::{Router, Target},
    service::{RevisionKey, ServiceName},
};

mod process;

/// A change of its configuration is in force by then, or has failed.
const IN_FORCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);
/// Unix socket paths end at 108 bytes.
const LONGEST_SOCKET: usize = 100;

/// The router.
pub(super) struct Envoy {
    program: PathBuf,
    folder: PathBuf,
    wanted: SocketAddr,
    otlp: Option<(String, u16)>,
    predict_timeout: Duration,
    drain_timeout: Duration,
    admin: Arc<Admin>,
    socket: PathBuf,
    /// Holds the socket where the state folder's path is too long for one.
    _socket_folder: Option<tempfile::TempDir>,
    listen: OnceLock<SocketAddr>,
    version: AtomicU64,
    /// Whether it answered when it was asked last.
    away: AtomicBool,
    desired: tokio::sync::Mutex<Desired>,
    stop: CancellationToken,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

/// What the files say.
#[derive(Default)]
struct Desired {
    services: BTreeMap<ServiceName, Vec<Target>>,
    /// Cluster -> authority; those of revisions that drain are still among them.
    clusters: BTreeMap<String, String>,
}

fn route_failed(message: impl Into<String>) -> Failure {
    Failure::new(Reason::RouteFailed, message)
}

impl Envoy {
    pub(super) fn new(settings: &Settings, state: &Path) -> Result<Self, Failure> {
        let folder = state.join("envoy");
        let mut socket = folder.join("admin.sock");
        let mut socket_folder = None;
        if socket.as_os_str().len() > LONGEST_SOCKET {
            let short = tempfile::Builder::new().prefix("kfops-envoy-").tempdir().map_err(Failure::internal)?;
            socket = short.path().join("admin.sock");
            socket_folder = Some(short);
        }
        Ok(Self {
            program: settings.envoy.clone(),
            wanted: settings.models_address()?,
            otlp: settings.telemetry.otlp_endpoint.as_deref().and_then(host_and_port),
            predict_timeout: settings.predict_timeout.get(),
            drain_timeout: settings.drain_timeout.get(),
            admin: Arc::new(Admin::new(&socket)?),
            socket,
            _socket_folder: socket_folder,
            listen: OnceLock::new(),
            version: AtomicU64::new(0),
            away: AtomicBool::new(false),
            desired: tokio::sync::Mutex::default(),
            stop: CancellationToken::new(),
            keeper: Mutex::default(),
            folder,
        })
    }

    /// Writes a file into the watched folder, whole.
    fn publish(&self, name: &str, content: &Value) -> Result<(), Failure> {
        let (draft, file) = (self.folder.join(name), self.folder.join("xds").join(name));
        std::fs::write(&draft, content.to_string())
            .and_then(|()| std::fs::rename(&draft, &file))
            .map_err(|error| route_failed(format!("{}: {error}", file.display())))
    }

    async fn publish_clusters(&self, desired: &Desired) -> Result<(), Failure> {
        let version = self.next_version();
        self.publish("clusters.json", &config::clusters(version, &desired.clusters))?;
        self.in_force("clusters", |(clusters, _)| clusters == Some(version)).await
    }

    async fn publish_routes(&self, desired: &Desired) -> Result<(), Failure> {
        let version = self.next_version();
        self.publish("routes.json", &config::routes(version, &desired.services, self.predict_timeout))?;
        self.in_force("routes", |(_, routes)| routes == Some(version)).await
    }

    fn next_version(&self) -> u64 {
        self.version.fetch_add(1, Ordering::Relaxed) + 1
    }

    async fn in_force(
        &self,
        what: &str,
        done: impl Fn((Option<u64>, Option<u64>)) -> bool + Send,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + IN_FORCE;
        while Instant::now() < deadline {
            if self.admin.versions().await.is_ok_and(&done) {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        let log = LogTail::read(&self.log(), 4096);
        Err(route_failed(format!("envoy did not take over new {what} within {} s", IN_FORCE.as_secs())).log_tail(&log))
    }

    /// Until a revision that left the route has answered everything it had begun; gives what it has not by the limit.
    async fn quiet(&self, cluster: &str) -> u64 {
        let deadline = Instant::now() + self.drain_timeout;
        let (mut quiet, mut active) = (0, 0);
        // Several quiet looks in a row: a request may be between its route and its connection, or between two tries.
        while quiet < 4 && Instant::now() < deadline && !self.stop.is_cancelled() {
            if let Ok(stats) = self.admin.cluster(cluster).await {
                active = stats.active;
                quiet = if active == 0 { quiet + 1 } else { 0 };
            } else {
                quiet = 0;
            }
            tokio::time::sleep(POLL * 3).await;
        }
        if quiet < 4 {
            tracing::warn!(cluster, active, "not drained in time");
        }
        active
    }
}

#[async_trait]
impl Router for Arc<Envoy> {
    async fn open(&self) -> Result<(), Failure> {
        let unwritable = |error: std::io::Error| Failure::internal(format!("{}: {error}", self.folder.display()));
        std::fs::create_dir_all(self.folder.join("xds")).map_err(unwritable)?;
        orphan::end(&self.folder);
        std::fs::remove_file(self.log()).ok();
        let listen = self.choose_address()?;
        self.listen.set(listen).ok();
        let xds = self.folder.join("xds");
        let bootstrap = config::Bootstrap { listen, admin: &self.socket, xds: &xds, otlp: self.otlp.clone() }.json();
        std::fs::write(self.folder.join("bootstrap.json"), bootstrap.to_string()).map_err(unwritable)?;
        {
            let desired = self.desired.lock().await;
            self.publish("clusters.json", &config::clusters(self.next_version(), &desired.clusters))?;
            let routes = config::routes(self.next_version(), &desired.services, self.predict_timeout);
            self.publish("routes.json", &routes)?;
        }
        let mut child = self.spawn()?;
        let deadline = Instant::now() + IN_FORCE;
        while !self.admin.live().await {
            let ended = tokio::time::timeout(POLL, child.wait()).await;
            let log = LogTail::read(&self.log(), 4096);
            if let Ok(ended) = ended {
                let how = ended.map(|ended| ended.describe()).unwrap_or_default();
                return Err(Failure::internal(format!("envoy ended at its start: {how}")).log_tail(&log));
            }
            if Instant::now() > deadline {
                return Err(Failure::internal("envoy does not become ready").log_tail(&log));
            }
        }
        tracing::info!(address = %listen, "models are answered");
        let keeper = tokio::spawn(Arc::clone(self).keep(child));
        *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(keeper);
        Ok(())
    }

    async fn apply(&self, service: &ServiceName, targets: &[Target]) -> Result<(), Failure> {
        let mut desired = self.desired.lock().await;
        let old = desired.services.get(service);
        if old.is_some_and(|old| old == targets) {
            return Ok(());
        }
        let name_of = |target: &Target| config::cluster(&service.namespace, &target.revision);
        let mut clusters = desired.clusters.clone();
        clusters.extend(targets.iter().map(|t| (name_of(t), t.authority.clone())));
        if clusters != desired.clusters {
            desired.clusters = clusters;
            self.publish_clusters(&desired).await?;
        }
        let before = desired.services.insert(service.clone(), targets.to_vec());
        if let Err(failure) = self.publish_routes(&desired).await {
            // What is not in force is not believed: the next call tries again.
            match before {
                Some(before) => desired.services.insert(service.clone(), before),
                None => desired.services.remove(service),
            };
            return Err(failure);
        }
        Ok(())
    }

    async fn drained(&self, key: &RevisionKey) -> Result<u64, Failure> {
        let cluster = config::cluster(&key.namespace, &key.revision);
        if !self.desired.lock().await.clusters.contains_key(&cluster) {
            return Ok(0);
        }
        let cut = self.quiet(&cluster).await;
        let mut desired = self.desired.lock().await;
        desired.clusters.remove(&cluster);
        self.publish_clusters(&desired).await?;
        Ok(cut)
    }

    async fn counters(&self, key: &RevisionKey) -> Result<Counters, Failure> {
        Ok(self.admin.cluster(&config::cluster(&key.namespace, &key.revision)).await?.counters)
    }

    fn trouble(&self) -> Option<String> {
        let text = "the router (envoy) does not answer; it is started again if that lasts";
        self.away.load(Ordering::Relaxed).then(|| text.into())
    }

    fn base_url(&self, service: &ServiceName) -> String {
        let listen = self.listen.get().unwrap_or(&self.wanted);
        format!("http://{listen}/serving/{}/{}", service.namespace, service.name)
    }

    async fn close(&self) {
        self.stop.cancel();
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeper) = keeper {
            keeper.await.ok();
        }
        std::fs::remove_file(&self.socket).ok();
    }
}

/// Of `http://host:port`.
fn host_and_port(endpoint: &str) -> Option<(String, u16)> {
    let rest = endpoint.strip_prefix("http://")?;
    let authority = rest.split('/').next()?;
    match authority.rsplit_once(':') {
        Some((host, port)) => Some((host.to_owned(), port.parse().ok()?)),
        None => Some((authority.to_owned(), 4317)),
    }
}
