//! Compiles in the sandbox of this machine.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use kfops_core::{Failure, Reason};
use kfops_process::{Ended, Limits, LogTail};
use kfops_store::{ArchiveLimits, SourceRef, Store, extract_source};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{python::Python, read_plain, unusable, write};
use crate::{
    Settings,
    explain::{self, Problem},
    ir::{MAX_BYTES, invalid},
    life::canceled,
    ports::{CompileJob, Compiler},
    programs,
    ship::{EVERY, Shipper},
};

/// Longest time for the check of the schema.
const CHECK_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) struct LocalCompiler {
    python: Python,
    store: Store,
    folder: PathBuf,
    timeout: Duration,
    limits: Limits,
}

impl LocalCompiler {
    pub(super) fn new(settings: &Settings, python: Python, store: Store, folder: PathBuf) -> Self {
        let timeout = settings.compile_timeout.get();
        let memory = settings.compile_memory_mib.saturating_mul(1024 * 1024);
        let limits = Limits { memory, cpu: timeout.max(Duration::from_secs(1)), file_size: 64 << 20 };
        Self { python, store, folder, timeout, limits }
    }

    async fn in_sandbox(
        &self,
        job: &CompileJob,
        scratch: &Path,
        cancel: &CancellationToken,
    ) -> Result<String, Failure> {
        let source = scratch.join("source");
        let library = scratch.join("library");
        let (output, error) = (scratch.join("pipeline.yaml"), scratch.join("error.json"));
        for (name, text) in programs::library(job) {
            write(&library.join(name), text)?;
        }
        write(&scratch.join("compile.py"), programs::COMPILE)?;
        let request = json!({
            "root": source, "path": job.path, "function": job.function,
            "library": library, "output": output, "error": error,
        });
        write(&scratch.join("request.json"), request.to_string())?;
        std::fs::create_dir_all(scratch.join("home")).map_err(|error| unusable(scratch, &error))?;
        let log = scratch.join("log");
        let command = self
            .python
            .command()
            .arg(scratch.join("compile.py"))
            .arg(scratch.join("request.json"))
            .env("HOME", scratch.join("home"))
            .env("TMPDIR", scratch.join("home"))
            .cwd(&source)
            .log(&log)
            .timeout(self.timeout);
        let command = self.python.confined(command, &[scratch], self.limits.clone());

        let clean = |text: String| without_scratch(&text, scratch);
        let mut shipper = Shipper::new(self.store.clone());
        let mut often = tokio::time::interval(EVERY);
        let work = command.run(cancel);
        tokio::pin!(work);
        let ended = loop {
            tokio::select! {
                ended = &mut work => break ended,
                _ = often.tick() => shipper.ship(&job.log_key, &log, clean).await,
            }
        };
        shipper.ship(&job.log_key, &log, clean).await;
        let ended = ended?;
        if !ended.success() {
            let problem =
                read_plain(&error, 64 * 1024).ok().and_then(|text| serde_json::from_str::<Problem>(&text).ok());
            return Err(self.failure(job, &ended, problem, &clean(LogTail::read(&log, 64 * 1024)), scratch));
        }
        read_plain(&output, MAX_BYTES).map_err(|error| invalid(format!("the compiled pipeline {error}")))
    }

    fn failure(&self, job: &CompileJob, ended: &Ended, problem: Option<Problem>, log: &str, scratch: &Path) -> Failure {
        if ended.canceled {
            return canceled(&format!("pipelineVersions/{}", job.version));
        }
        if ended.timed_out {
            return explain::timed_out(job, self.timeout, log);
        }
        let problem = problem.map(|problem| Problem { message: without_scratch(&problem.message, scratch), ..problem });
        explain::not_compiled(job, problem, self.limits.memory >> 20, &ended.describe(), log)
    }
}

#[async_trait]
impl Compiler for LocalCompiler {
    fn isolation(&self) -> String {
        self.python.sandbox().to_string()
    }

    async fn compile(&self, job: &CompileJob, cancel: &CancellationToken) -> Result<String, Failure> {
        let scratch = Scratch::new(self.folder.join(&job.version))?;
        let source = scratch.0.join("source");
        let archive = SourceRef { key: job.source.key.clone(), digest: job.source.digest.clone() };
        let extracted = extract_source(&self.store, &archive, &source, ArchiveLimits::default());
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(canceled(&format!("pipelineVersions/{}", job.version))),
            extracted = extracted => extracted?,
        }
        let file = source.join(&job.path);
        let inside = file.canonicalize().is_ok_and(|real| real.starts_with(&source) && real.is_file());
        if !inside {
            return Err(explain::missing(job));
        }
        if !job.is_yaml {
            return self.in_sandbox(job, &scratch.0, cancel).await;
        }
        let real = file.canonicalize().map_err(|error| unusable(&file, &error))?;
        let text = read_plain(&real, MAX_BYTES).map_err(|error| invalid(format!("{} {error}", job.path)))?;
        let log = format!("{}: compiled YAML, {} bytes\n", job.path, text.len());
        self.store.put(&job.log_key, log).await?;
        Ok(text)
    }

    async fn check(&self, pipeline: &Value, cancel: &CancellationToken) -> Result<(), Failure> {
        let command = self
            .python
            .command()
            .args(["-c", programs::CHECK])
            // kfp then imports its messages alone, not its compiler.
            .env("_KFP_RUNTIME", "true")
            .input(pipeline.to_string())
            .timeout(CHECK_TIMEOUT);
        let ended = self.python.confined(command, &[], self.limits.clone()).run(cancel).await?;
        if ended.success() {
            return Ok(());
        }
        if ended.canceled {
            return Err(Failure::new(Reason::Canceled, "canceled while the compiled pipeline was checked"));
        }
        let problems: Vec<&str> = ended.output.lines().filter_map(|line| line.strip_prefix("problem: ")).collect();
        Err(explain::against_schema(&problems).unwrap_or_else(|| {
            Failure::internal(format!("the compiled pipeline could not be checked: {}", ended.describe()))
                .action("does the Python of the setting `python` have kfp?")
                .log_tail(&ended.output)
        }))
    }
}

/// A folder that is gone when this is.
struct Scratch(PathBuf);

impl Scratch {
    fn new(path: PathBuf) -> Result<Self, Failure> {
        // Left behind by a process that was killed.
        if path.exists() {
            std::fs::remove_dir_all(&path).map_err(|error| unusable(&path, &error))?;
        }
        std::fs::create_dir_all(&path).map_err(|error| unusable(&path, &error))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(folder = %self.0.display(), %error, "not removed");
        }
    }
}

/// Paths as the repository's people know them.
fn without_scratch(text: &str, scratch: &Path) -> String {
    let scratch = scratch.display().to_string();
    text.replace(&format!("{scratch}/source/"), "").replace(&scratch, "")
}
