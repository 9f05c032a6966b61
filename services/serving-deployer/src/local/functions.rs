//! Kfops 1's deployment functions, called by the environment's Python in a sandbox.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use kfops_core::{Failure, Reason};
use kfops_process::{Command, Confinement, Limits, Sandbox, read_regular};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    Settings,
    ports::DeploymentFunctions,
    template::{Inputs, MAX_BYTES},
};

const SCRIPT: &str = include_str!("python/inference_service_function.py");
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// The environment's Python.
pub(super) struct Python {
    python: PathBuf,
    state: PathBuf,
    sandbox: Sandbox,
    hidden: Vec<PathBuf>,
}

impl Python {
    pub(super) fn new(settings: &Settings, state: &Path, sandbox: Sandbox, hidden: Vec<PathBuf>) -> Self {
        Self { python: settings.python.clone(), state: state.to_owned(), sandbox, hidden }
    }
}

#[async_trait]
impl DeploymentFunctions for Python {
    async fn call(&self, source: &Path, file: &Path, inputs: &Inputs) -> Result<Value, Failure> {
        let work = tempfile::Builder::new().prefix("function-").tempdir_in(&self.state).map_err(Failure::internal)?;
        let (script, output) = (work.path().join("call.py"), work.path().join("inference_service.json"));
        std::fs::write(&script, SCRIPT).map_err(Failure::internal)?;
        let arguments = json!({
            "file": file,
            "name": inputs.service.name,
            "namespace": inputs.service.namespace,
            "storage_uri": inputs.storage_uri,
            "output": output,
        });
        let command = Command::new(&self.python)
            .args(["-I", "-u", "-W", "ignore"])
            .arg(&script)
            .arg(arguments.to_string())
            .cwd(source)
            .timeout(TIME_LIMIT);
        // The environment may lie in a folder that the sandbox hides.
        let environment = self.python.parent().and_then(Path::parent).filter(|_| self.python.is_absolute());
        let mut readable = vec![source];
        readable.extend(environment);
        let hidden: Vec<&Path> = self.hidden.iter().map(PathBuf::as_path).collect();
        let command = self.sandbox.confine(
            command,
            &Confinement {
                writable: &[work.path()],
                readable: &readable,
                hidden: &hidden,
                limits: Some(Limits { cpu: TIME_LIMIT, ..Limits::default() }),
                network: false,
            },
        );
        let ended = command.run(&CancellationToken::new()).await?;
        let failed = |cause: String| {
            Failure::new(Reason::TemplateInvalid, format!("the deployment function gave no InferenceService: {cause}"))
                .log_tail(&ended.output)
        };
        if !ended.success() {
            let last = ended.output.trim_end().lines().last().unwrap_or_default();
            let last: String = last.trim_start_matches("kfops: ").chars().take(300).collect();
            return Err(failed(if last.is_empty() { ended.describe() } else { last }));
        }
        // The function may have put anything in its place.
        let bytes = read_regular(&output, MAX_BYTES as u64).map_err(|error| failed(error.to_string()))?;
        serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))
    }
}
