//! The workspace's binaries as processes of their own.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tokio::process::{Child, Command};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

/// The services' binaries, in the order in which they depend on each other.
pub const SERVICES: [&str; 5] = ["image-builder", "pipeline-runner", "serving-deployer", "scm-bot", "gateway"];

/// Path of a binary of this workspace, built by `make test` beside this one.
pub fn path(name: &str) -> Result<PathBuf> {
    let current = std::env::current_exe()?;
    let folder = current.ancestors().find(|folder| folder.join(name).is_file());
    let path = folder
        .map(|folder| folder.join(name))
        .with_context(|| format!("no binary {name}: build it with `cargo build --workspace --bins`"))?;
    Ok(path)
}

/// A free port of the loopback address.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A running binary; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    /// e.g. `kfops-gateway`.
    pub name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a binary with its log in `folder`.
    pub fn start(name: &str, args: &[&str], env: &[(&str, &str)], folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log)?;
        let child = Command::new(path(name)?)
            .args(args)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self { name: name.into(), child, log })
    }

    /// Its process id while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Everything it has written.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGKILL, and waits until it is gone.
    pub async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// SIGTERM; the exit code.
    pub async fn terminate(&mut self, limit: Duration) -> Result<Option<i32>> {
        let id = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(rustix::process::Pid::from_raw)
            .context("it has ended")?;
        rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
        let status = tokio::time::timeout(limit, self.child.wait())
            .await
            .with_context(|| format!("{} did not end:\n{}", self.name, self.log()))??;
        Ok(status.code())
    }

    /// Resident memory, KiB.
    pub fn memory_kib(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id().context("it has ended")?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
    }
}

/// Waits until a gRPC server says that it serves; the time it took.
pub async fn wait_healthy(address: &str, limit: Duration) -> Result<Duration> {
    let begun = Instant::now();
    let channel = kfops_rpc::connect(address)?;
    loop {
        let asked = HealthClient::new(channel.clone()).check(HealthCheckRequest::default()).await;
        match asked {
            Ok(answer) if answer.get_ref().status() == ServingStatus::Serving => return Ok(begun.elapsed()),
            other => ensure!(begun.elapsed() < limit, "{address} is not healthy: {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Enough settings for a service to start on this machine, as YAML.
#[must_use]
pub fn minimal_settings(service: &str, port: u16, folder: &Path) -> String {
    let folder = folder.display();
    let common = format!("listen: 127.0.0.1:{port}\n");
    let state = format!("state: {folder}/{service}\nstore: file://{folder}/store\n");
    let tool = |key: &str| std::env::var(key).unwrap_or_else(|_| key.to_lowercase().replace("kfops_", ""));
    common
        + &match service {
            "gateway" => "webhook: {secrets: [secret]}\napi: {loopback_user: tester}\n".to_owned(),
            "scm-bot" => state + "github: {api_url: 'http://127.0.0.1:9', token: none}\n",
            "image-builder" => {
                state
                    + &format!(
                        "embedded_registry: {{listen: '127.0.0.1:0', folder: {folder}/registry, for_all: true}}\n"
                    )
            }
            "pipeline-runner" => state + &format!("python: {}\n", tool("KFOPS_PYTHON")),
            _ => {
                state
                    + &format!(
                        "python: {}\nenvoy: {}\nlisten_models: 127.0.0.1:0\n",
                        tool("KFOPS_PYTHON"),
                        tool("KFOPS_ENVOY")
                    )
            }
        }
}
