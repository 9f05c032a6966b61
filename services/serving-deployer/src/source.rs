//! What a rollout takes from the repository: template, sample request, golden requests.

use std::path::{Path, PathBuf};

use kfops_core::{Failure, Reason};
use kfops_store::{ArchiveLimits, SourceRef, extract_source};
use serde_json::Value;

use crate::{
    ports::Ports,
    proof::{Golden, parse_golden},
    rollout::Rollout,
    service::Predictor,
    template::{self, Inputs, MAX_BYTES},
};

/// All of it, read and checked.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) predictor: Predictor,
    /// The rendered InferenceService, YAML; empty when it was rendered earlier.
    pub(crate) manifest: String,
    pub(crate) sample: Option<Value>,
    pub(crate) golden: Vec<Golden>,
}

/// Unpacks the source and reads it. `known` is what an earlier process made of the template.
pub(crate) async fn prepare(
    ports: &Ports,
    rollout: &Rollout,
    known: Option<Predictor>,
    state: &Path,
) -> Result<Prepared, Failure> {
    let request = &rollout.request;
    let work = tempfile::Builder::new().prefix("source-").tempdir_in(state).map_err(Failure::internal)?;
    let folder = work.path().join("files");
    let source = SourceRef { key: request.source.key.clone(), digest: request.source.digest.clone() };
    extract_source(&ports.store, &source, &folder, ArchiveLimits::default()).await?;
    let inputs = Inputs {
        service: request.service.clone(),
        storage_uri: template::storage_uri(&request.model.uri),
        run_id: request.run.trim_start_matches("runs/").into(),
        commit: request.source.commit.clone(),
    };
    let (predictor, manifest) = match known {
        Some(predictor) => (predictor, String::new()),
        None => {
            let named =
                |failure: Failure| Failure { message: format!("{}: {}", request.template, failure.message), ..failure };
            let file = inside(&folder, &request.template).map_err(template_failure)?;
            let is_python = file.extension().is_some_and(|e| e == "py");
            let service = if is_python {
                ports.functions.call(&folder, &file, &inputs).await.map_err(named)?
            } else {
                template::render(&text(&file, &request.template).map_err(template_failure)?, &inputs).map_err(named)?
            };
            let predictor = template::predictor(&service, &inputs).map_err(named)?;
            let manifest = template::manifest(&service).map_err(named)?;
            ports.runtime.check(&predictor, &manifest).map_err(named)?;
            (predictor, manifest)
        }
    };
    let sample = match request.sample.as_str() {
        "" => None,
        path => Some(
            serde_json::from_str(&text(&inside(&folder, path)?, path)?)
                .map_err(|error| invalid(format!("sample request {path} is not JSON: {error}")))?,
        ),
    };
    let golden = match request.golden.as_str() {
        "" => Vec::new(),
        path => parse_golden(&text(&inside(&folder, path)?, path)?)
            .map_err(|error| invalid(format!("golden requests {path}, {error}")))?,
    };
    Ok(Prepared { predictor, manifest, sample, golden })
}

/// The file at a path of the repository, which must not lead out of it, through links neither.
fn inside(folder: &Path, path: &str) -> Result<PathBuf, Failure> {
    let shown: String = path.chars().filter(|c| !c.is_control()).take(200).collect();
    let missing = || invalid(format!("there is no file `{shown}` in the repository"));
    let root = folder.canonicalize().map_err(Failure::internal)?;
    let file = root.join(path).canonicalize().map_err(|_| missing())?;
    if file.starts_with(&root) && file.is_file() { Ok(file) } else { Err(missing()) }
}

fn text(file: &Path, path: &str) -> Result<String, Failure> {
    let size = file.metadata().map_err(Failure::internal)?.len();
    if size > MAX_BYTES as u64 {
        return Err(invalid(format!("{path} is longer than {MAX_BYTES} bytes")));
    }
    std::fs::read_to_string(file).map_err(|error| invalid(format!("{path} cannot be read: {error}")))
}

fn invalid(message: String) -> Failure {
    Failure::new(Reason::ConfigInvalid, message).action("correct it in the repository, then roll out again")
}

fn template_failure(failure: Failure) -> Failure {
    Failure { reason: Reason::TemplateInvalid, ..failure }
}
