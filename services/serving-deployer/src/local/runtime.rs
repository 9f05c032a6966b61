//! One process of KServe's Python server per revision.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use kfops_core::{Failure, Reason};
use kfops_process::{Command, Confinement, LogTail, Sandbox, read_regular};
use serde_json::json;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use self::watched::Watched;
use super::orphan;
use crate::{
    Settings,
    ports::{Runtime, Server},
    service::{Predictor, Revision, RevisionKey, ServiceName},
};

mod watched;

const SCRIPT: &str = include_str!("python/model_server.py");
const FORMATS: [&str; 3] = ["sklearn", "xgboost", "lightgbm"];
const POLL: Duration = Duration::from_millis(50);
/// Of the log, in bytes.
const LOG_SHOWN: u64 = 64 * 1024;

/// The processes.
pub(super) struct Processes {
    python: PathBuf,
    sandbox: Sandbox,
    hidden: Vec<PathBuf>,
    /// A folder per revision that its server may write to. Nothing in it is believed.
    work: PathBuf,
    /// A folder per revision for what we keep of its server: script, process id, log. No model can change these.
    servers: PathBuf,
    otlp_endpoint: Option<String>,
    http: reqwest::Client,
    probe_interval: Duration,
    running: Mutex<HashMap<RevisionKey, Process>>,
    hurry: CancellationToken,
}

struct Process {
    server: watch::Receiver<Server>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Processes {
    pub(super) fn new(
        settings: &Settings,
        state: &Path,
        sandbox: Sandbox,
        hidden: Vec<PathBuf>,
    ) -> Result<Self, Failure> {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).pool_max_idle_per_host(0);
        Ok(Self {
            python: settings.python.clone(),
            sandbox,
            hidden,
            work: state.join("revisions"),
            servers: state.join("servers"),
            otlp_endpoint: settings.model_otlp_endpoint.clone(),
            http: client.build().map_err(Failure::internal)?,
            probe_interval: settings.probe_interval.get().max(POLL),
            running: Mutex::default(),
            hurry: CancellationToken::new(),
        })
    }

    fn work(&self, key: &RevisionKey) -> PathBuf {
        self.work.join(&key.namespace).join(&key.revision)
    }

    fn kept(&self, key: &RevisionKey) -> PathBuf {
        self.servers.join(&key.namespace).join(&key.revision)
    }

    fn server_log(&self, key: &RevisionKey) -> PathBuf {
        self.kept(key).join("server.log")
    }

    fn take(&self, key: &RevisionKey) -> Option<Process> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(key)
    }

    fn command(&self, service: &ServiceName, key: &RevisionKey, predictor: &Predictor) -> Result<Command, Failure> {
        let model = predictor.storage_uri.strip_prefix("file://").filter(|path| path.starts_with('/'));
        let model = model.ok_or_else(|| {
            Failure::new(
                Reason::RevisionNotReady,
                format!("`{}` cannot be served on one machine: a model lies at file:///…", predictor.storage_uri),
            )
        })?;
        let model = Path::new(model);
        if !model.exists() {
            let text = format!("there is no model at {}", predictor.storage_uri);
            return Err(Failure::new(Reason::ModelMissing, text).action("run again, then roll out that run"));
        }
        let (work, kept, log) = (self.work(key), self.kept(key), self.server_log(key));
        let script = kept.join("model_server.py");
        let written = std::fs::create_dir_all(&work).and_then(|()| std::fs::create_dir_all(&kept)).and_then(|()| {
            orphan::end(&kept);
            std::fs::write(&script, SCRIPT)
        });
        written.map_err(|error| Failure::internal(format!("{}: {error}", kept.display())))?;
        std::fs::remove_file(work.join("address")).ok();
        std::fs::remove_file(&log).ok();
        let arguments = json!({
            "name": service.name,
            "namespace": service.namespace,
            "revision": key.revision,
            "format": predictor.format,
            "model": model,
            "address_file": work.join("address"),
            "otlp_endpoint": self.otlp_endpoint,
        });
        let command = Command::new(&self.python)
            .args(["-I", "-u", "-W", "ignore"])
            .arg(&script)
            .arg(arguments.to_string())
            // A model of this size gains nothing from threads, and each costs memory.
            .env("OMP_NUM_THREADS", "1")
            .env("OPENBLAS_NUM_THREADS", "1")
            .cwd(&work)
            .log(log);
        // A pickled model is code of the pull request. It needs the network to be asked, and nothing else.
        let environment = self.python.parent().and_then(Path::parent).filter(|_| self.python.is_absolute());
        let mut readable = vec![model, script.as_path()];
        readable.extend(environment);
        let hidden: Vec<&Path> = self.hidden.iter().map(PathBuf::as_path).collect();
        let confinement =
            Confinement { writable: &[&work], readable: &readable, hidden: &hidden, network: true, limits: None };
        Ok(self.sandbox.confine(command, &confinement))
    }
}

#[async_trait]
impl Runtime for Processes {
    fn check(&self, predictor: &Predictor, _: &str) -> Result<(), Failure> {
        if FORMATS.contains(&predictor.format.as_str()) {
            return Ok(());
        }
        let format: String = predictor.format.chars().filter(|c| !c.is_control()).take(100).collect();
        let text = format!("model format `{format}` cannot be served on one machine; it knows {}", FORMATS.join(", "));
        Err(Failure::new(Reason::TemplateInvalid, text))
    }

    async fn start(&self, service: &ServiceName, revision: &Revision) -> Result<(), Failure> {
        let key = &revision.key(service);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(process) = running.get(key)
            && !matches!(*process.server.borrow(), Server::Exited(_))
        {
            return Ok(());
        }
        let child = self.command(service, key, &revision.predictor)?.spawn()?;
        let kept = self.kept(key);
        orphan::remember(&kept, child.id());
        let (sender, server) = watch::channel(Server::Starting);
        let stop = CancellationToken::new();
        let watched = Watched {
            address: self.work(key).join("address"),
            kept,
            url_path: format!("/v1/models/{}", service.name),
            http: self.http.clone(),
            interval: self.probe_interval,
            hurry: self.hurry.clone(),
        };
        let task = tokio::spawn(watched.run(child, sender, stop.clone()));
        running.insert(key.clone(), Process { server, stop, task });
        tracing::info!(revision = %key, "model server started");
        Ok(())
    }

    async fn observe(&self, key: &RevisionKey) -> Server {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.get(key).map_or(Server::Absent, |process| process.server.borrow().clone())
    }

    async fn stop(&self, key: &RevisionKey) {
        if let Some(process) = self.take(key) {
            process.stop.cancel();
            process.task.await.ok();
            tracing::info!(revision = %key, "model server stopped");
        }
    }

    async fn log(&self, key: &RevisionKey) -> String {
        LogTail::read(&self.server_log(key), LOG_SHOWN)
    }

    async fn close(&self) {
        let all: Vec<Process> =
            self.running.lock().unwrap_or_else(PoisonError::into_inner).drain().map(|(_, process)| process).collect();
        self.hurry.cancel();
        for process in &all {
            process.stop.cancel();
        }
        for process in all {
            process.task.await.ok();
        }
    }
}

/// Where a server says that it listens. A model may have written anything there; only this machine is asked.
fn authority(file: &Path) -> Option<String> {
    let text = String::from_utf8(read_regular(file, 64).ok()?).ok()?;
    let address: SocketAddr = text.parse().ok()?;
    address.ip().is_loopback().then_some(text)
}

/// Why a server ended: what our script said, or the last line of the log.
fn cause(log: &str, ended: &str) -> String {
    let lines = || log.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let said = lines().find_map(|line| line.strip_prefix("kfops: ")).map(str::to_owned);
    let text = said.or_else(|| lines().next().map(|line| format!("{ended}: {line}"))).unwrap_or_else(|| ended.into());
    text.chars().filter(|c| !c.is_control()).take(400).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_small_file_with_a_loopback_address() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("address"), folder.path().join("other"));
        assert_eq!(authority(&file), None);
        for (text, taken) in [("127.0.0.1:80", true), ("10.0.0.1:80", false), ("127.0.0.1:80/x@y", false)] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(authority(&file).is_some(), taken, "{text}");
        }
        std::fs::write(&other, "127.0.0.1:80").unwrap();
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(&other, &file).unwrap();
        assert_eq!(authority(&file), None, "a link was followed");
        // A named pipe that nobody writes to: reading it would never end.
        std::fs::remove_file(&file).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
        assert_eq!(authority(&file), None);
    }

    #[test]
    fn what_our_script_said_wins_over_the_last_line() {
        assert_eq!(cause("a\nkfops: cannot load\nbye\n", "exit code 1"), "cannot load");
        assert_eq!(cause("a\nTypeError: x\n\n", "exit code 1"), "exit code 1: TypeError: x");
        assert_eq!(cause("", "killed by signal 9"), "killed by signal 9");
    }
}
