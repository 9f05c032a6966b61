//! Servers as processes on one core, the rest on the other.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

/// The core that servers run on.
pub const SERVERS: usize = 0;
/// The core that the load comes from.
pub const LOAD: usize = 1;

/// A running server; dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
}

impl Server {
    /// Starts a program on the servers' core, with its output in `{folder}/{name}.log`.
    pub fn start(name: &str, program: &Path, args: &[&str], env: &[(&str, &str)], folder: &Path) -> Result<Self> {
        let log = File::options().create(true).append(true).open(folder.join(format!("{name}.log")))?;
        let child = Command::new("taskset")
            .args(["-c", &SERVERS.to_string()])
            .arg(program)
            .args(args)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        Ok(Self { child })
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Processor time it has used, in seconds.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
        Ok((ticks(11) + ticks(12)) / 100.0)
    }

    /// Resident memory, MiB.
    pub fn memory_mib(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").trim().parse::<f64>()? / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill().ok();
    }
}

/// Keeps this process off the servers' core, with all threads that it starts from now on.
pub fn stay_off() -> Result<()> {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(LOAD);
    Ok(rustix::thread::sched_setaffinity(None, &cores)?)
}

/// A binary of this workspace, beside this one.
pub fn path(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(path.is_file(), "no binary {}: `make` builds it", path.display());
    Ok(path)
}

/// A free port of the loopback address.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Waits until something listens.
pub fn wait_listening(address: SocketAddr, limit: Duration) -> Result<Duration> {
    let begun = Instant::now();
    while TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_err() {
        ensure!(begun.elapsed() < limit, "nothing listens on {address} after {limit:?}");
        std::thread::yield_now();
    }
    Ok(begun.elapsed())
}
