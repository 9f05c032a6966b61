//! `kfc local up` as a process that tests start, kill and start again.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use kfops_local::{client::Client, demo::Repository, system::Endpoints};

use crate::{binaries::Process, wait};

/// One local system on one state folder.
#[derive(Debug)]
pub struct LocalUp {
    repository: PathBuf,
    state: PathBuf,
    faults: bool,
    process: Process,
    /// Where everything is since the last start.
    pub endpoints: Endpoints,
}

impl LocalUp {
    /// Starts it for a git work tree and waits until it is ready.
    pub async fn start(repository: &Path, state: &Path) -> Result<Self> {
        Self::begin(repository, state, false).await
    }

    /// The same with a forge that can be told to misbehave, at `/_forge/faults`.
    pub async fn start_with_faults(repository: &Path, state: &Path) -> Result<Self> {
        Self::begin(repository, state, true).await
    }

    async fn begin(repository: &Path, state: &Path, faults: bool) -> Result<Self> {
        let (process, endpoints) = start(repository, state, faults).await?;
        Ok(Self { repository: repository.into(), state: state.into(), faults, process, endpoints })
    }

    /// SIGKILL of the whole, then the same again.
    pub async fn kill_and_start(&mut self) -> Result<()> {
        self.process.kill().await?;
        (self.process, self.endpoints) = start(&self.repository, &self.state, self.faults).await?;
        Ok(())
    }

    /// Ends it as Ctrl-C would; the exit code.
    pub async fn stop(&mut self) -> Result<Option<i32>> {
        self.process.terminate(Duration::from_secs(40)).await
    }

    /// The REST API.
    pub fn client(&self) -> Result<Client> {
        Ok(Client::new(&self.endpoints.api, &self.endpoints.traces)?)
    }

    /// The repository at the forge, as its owner.
    pub fn forge(&self, full_name: &str) -> Result<Repository> {
        let secrets: serde_json::Value = serde_json::from_slice(&std::fs::read(self.state.join("secrets.json"))?)?;
        let token = secrets["user_token"].as_str().context("no user token")?;
        Ok(Repository::new(&self.endpoints.forge, full_name, token)?)
    }

    /// The folder of the state.
    #[must_use]
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Every request to the forge with its answer, and every webhook.
    #[must_use]
    pub fn forge_log(&self) -> PathBuf {
        forge_log(&self.state)
    }

    /// What it wrote.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }
}

fn forge_log(state: &Path) -> PathBuf {
    state.with_file_name("forge.jsonl")
}

async fn start(repository: &Path, state: &Path, faults: bool) -> Result<(Process, Endpoints)> {
    std::fs::create_dir_all(state)?;
    let published = state.join("endpoints.json");
    std::fs::remove_file(&published).ok();
    let (repository, folder) = (repository.to_string_lossy(), state.to_string_lossy());
    let log = forge_log(state);
    let log = log.to_string_lossy();
    let mut args = vec!["local", "up", "--repo", &repository, "--state", &folder, "--port", "0", "--log", "info"];
    args.extend(["--forge-log", &log]);
    args.extend(faults.then_some("--forge-faults"));
    let process = Process::start("kfc", &args, &[], state.parent().unwrap_or(state))?;
    let ready = wait::until("kfc local up to be ready", Duration::from_secs(240), async || {
        let text = std::fs::read(&published).ok()?;
        serde_json::from_slice::<Endpoints>(&text).ok()
    })
    .await;
    match ready {
        Ok(endpoints) => Ok((process, endpoints)),
        Err(error) => bail!("{error}\n{}", process.log()),
    }
}
