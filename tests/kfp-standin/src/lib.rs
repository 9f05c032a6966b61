//! Starts the stand-in for KFP's API server (`kfp_standin`, Python, with the environment that runs pipelines) for tests, and
//! tells it what shall go wrong.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

/// Longest wait for its first line.
const START: Duration = Duration::from_secs(20);

/// A running stand-in; dropping it kills it.
#[derive(Debug)]
pub struct Standin {
    address: String,
    metadata: Option<String>,
    http: reqwest::Client,
    _child: Child,
}

/// A workflow that was started, with or without a run that the API shows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Workflow {
    /// Its own.
    pub name: String,
    /// The run that it was started for.
    pub run_id: String,
    /// As Argo's: empty, `Running`, `Succeeded`, `Failed`.
    pub phase: String,
    /// Whether it has not ended.
    pub live: bool,
    /// Names of the tasks that it began.
    pub tasks: Vec<String>,
}

/// Where its files are.
#[must_use]
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The Python with kfp, which `make test` sets.
pub fn python() -> Result<PathBuf> {
    std::env::var_os("KFOPS_PYTHON")
        .map(PathBuf::from)
        .context("KFOPS_PYTHON is not set: run `make test`, which sets it")
}

impl Standin {
    /// Starts it over a bucket: `file:///folder` or `http://host:port/bucket`. More arguments are those of its `--help`.
    pub async fn start(bucket: &str, arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(python()?)
            .args(["-B", "-m", "kfp_standin", "--bucket", bucket])
            .args(arguments)
            .current_dir(folder())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting the stand-in")?;
        let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
        let line = tokio::time::timeout(START, lines.next_line()).await.context("it does not listen")??;
        let line: Value = serde_json::from_str(&line.context("it ended at once")?)?;
        let address = line["address"].as_str().context("no address")?.to_owned();
        let metadata = line["metadata"].as_str().map(|address| format!("http://{address}"));
        let http = reqwest::Client::builder().timeout(START).build()?;
        Ok(Self { address, metadata, http, _child: child })
    }

    /// Over a folder as its bucket.
    pub async fn over_folder(bucket: &Path, arguments: &[&str]) -> Result<Self> {
        Self::start(&format!("file://{}", bucket.display()), arguments).await
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What `kfp.url` of the pipeline runner's settings wants.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Address of ML Metadata, where it was started with `--metadata`.
    #[must_use]
    pub fn metadata(&self) -> Option<String> {
        self.metadata.clone()
    }

    /// Replaces its rules (`{"method", "path", "times", "do", "place"}`) and switches; see `faults.py`.
    pub async fn faults(&self, rules: Value, switches: Value) -> Result<()> {
        let body = json!({"rules": rules, "switches": switches});
        let answer = self.http.post(format!("{}/_standin/faults", self.url())).json(&body).send().await?;
        ensure!(answer.status().is_success(), "faults: {}", answer.status());
        Ok(())
    }

    /// Every workflow that was ever started.
    pub async fn workflows(&self) -> Result<Vec<Workflow>> {
        #[derive(Deserialize)]
        struct Workflows {
            workflows: Vec<Workflow>,
        }
        let answer = self.http.get(format!("{}/_standin/workflows", self.url())).send().await?;
        Ok(answer.error_for_status()?.json::<Workflows>().await?.workflows)
    }
}
