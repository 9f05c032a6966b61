//! Gets what the local system needs: a Python environment from the lock file in this binary; and says plainly what only the user can install.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use kfops_core::{Failure, Reason, short_hash};
use kfops_process::Command;
use tokio_util::sync::CancellationToken;

use crate::layout::Layout;

const LOCK: &str = include_str!("../python/requirements.lock");

/// What was provisioned.
#[derive(Debug, Clone)]
pub struct Tools {
    /// The environment's interpreter, with kfp and KServe.
    pub python: PathBuf,
    /// The Envoy binary of the environment.
    pub envoy: PathBuf,
}

/// Makes the Python environment unless it is there. `say` is told what takes long.
pub async fn provision(layout: &Layout, say: impl Fn(&str), cancel: &CancellationToken) -> Result<Tools, Failure> {
    require_programs(&["git", "tar"])?;
    let folder = layout.cache.join(format!("venv-{}", short_hash(&[LOCK], 12)));
    let done = folder.join(".complete");
    let lock_path = layout.cache.join("venv.lock");
    // Another kfc may be making it: wait for that one.
    let _lock = lock_file(&lock_path).await?;
    if !done.exists() {
        say("installing the Python environment (kfp, KServe, Envoy; once, about a minute)");
        make(&folder, cancel).await?;
        std::fs::write(&done, "").map_err(|error| io(&done, &error))?;
    }
    let python = folder.join("bin/python");
    let envoy = envoy_binary(&python, cancel).await?;
    Ok(Tools { python, envoy })
}

async fn lock_file(path: &Path) -> Result<File, Failure> {
    let file = File::create(path).map_err(|error| io(path, &error))?;
    let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await.map_err(Failure::internal)?;
    locked.map_err(|error| io(path, &error))
}

async fn make(folder: &Path, cancel: &CancellationToken) -> Result<(), Failure> {
    let base = find_python(cancel).await?;
    std::fs::remove_dir_all(folder)
        .or_else(|error| if folder.exists() { Err(error) } else { Ok(()) })
        .map_err(|error| io(folder, &error))?;
    let run = async |command: Command, what: &str| {
        let ended = command.timeout(Duration::from_secs(1200)).run(cancel).await?;
        if ended.success() {
            return Ok(());
        }
        Err(Failure::new(Reason::ResourceExhausted, format!("{what} failed: {}", ended.describe()))
            .action("check the network and the package index that pip uses, then start again")
            .log_tail(&ended.output))
    };
    run(Command::new(&base).args(["-m", "venv"]).arg(folder), "making the Python environment").await.map_err(
        |failure| {
            if failure.log_tail.contains("ensurepip") {
                failure.action("install Python's venv module (Debian: apt-get install python3-venv)")
            } else {
                failure
            }
        },
    )?;
    let requirements = folder.join("requirements.lock");
    std::fs::write(&requirements, LOCK).map_err(|error| io(&requirements, &error))?;
    let pip = Command::new(folder.join("bin/python"))
        .args([
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--no-input",
            "--quiet",
            "--require-hashes",
            "-r",
        ])
        .arg(&requirements)
        .pass_env(PIP_ENVIRONMENT);
    run(pip, "installing the Python packages").await
}

/// How the user told pip where packages come from.
const PIP_ENVIRONMENT: &[&str] = &[
    "PIP_CERT",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_DEFAULT_TIMEOUT",
    "PIP_CONFIG_FILE",
    "PIP_CACHE_DIR",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "https_proxy",
    "http_proxy",
    "no_proxy",
    "XDG_CACHE_HOME",
];

/// A Python that the locked packages have wheels for.
async fn find_python(cancel: &CancellationToken) -> Result<PathBuf, Failure> {
    const CHECK: &str = "import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13)); ";
    for name in ["python3.11", "python3.12", "python3.13", "python3"] {
        let probe = Command::new(name).args(["-c", CHECK]).timeout(Duration::from_secs(20)).run(cancel).await;
        if probe.is_ok_and(|ended| ended.success()) {
            return Ok(name.into());
        }
    }
    Err(Failure::new(Reason::BuilderMissing, "no Python 3.11 to 3.13 in PATH")
        .action("install one, with its venv module (Debian 12: apt-get install python3 python3-venv)"))
}

async fn envoy_binary(python: &Path, cancel: &CancellationToken) -> Result<PathBuf, Failure> {
    const WHERE: &str = "import importlib.util, pathlib; print(pathlib.Path(importlib.util.find_spec('envoy').origin).parent / '_bin' / 'envoy')";
    let ended = Command::new(python).args(["-c", WHERE]).timeout(Duration::from_secs(30)).run(cancel).await?;
    let path = PathBuf::from(ended.output.trim());
    if ended.success() && path.is_file() {
        return Ok(path);
    }
    Err(Failure::new(Reason::BuilderMissing, "the Python environment has no Envoy binary")
        .action("remove the venv folder in the cache and start again")
        .log_tail(&ended.output))
}

fn require_programs(names: &[&str]) -> Result<(), Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let missing: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| !std::env::split_paths(&path).any(|dir| dir.join(name).is_file()))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Reason::BuilderMissing, format!("not installed: {}", missing.join(", ")))
        .action(format!("install {0} (Debian: apt-get install {0})", missing.join(" "))))
}

fn io(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Reason::StoreUnavailable, format!("{}: {error}", path.display()))
}
