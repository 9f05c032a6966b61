//! Why a repository's pipeline was not compiled, in words for its author. The same on one machine and in a cluster.

use std::time::Duration;

use kfops_core::{Failure, Reason};
use kfops_settings::HumanDuration;
use serde::Deserialize;

use crate::ports::CompileJob;

/// What the compiling program says about its failure; the repository's code may have written it instead.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Problem {
    pub(crate) kind: String,
    pub(crate) message: String,
}

/// A compilation that ended without a result. `ended` says how, `memory` is its limit in MiB.
pub(crate) fn not_compiled(job: &CompileJob, problem: Option<Problem>, memory: u64, ended: &str, log: &str) -> Failure {
    let (path, name) = (&job.path, format!("pipelineVersions/{}", job.version));
    let failed = |message: String| Failure::new(Reason::CompileFailed, message).on(&name).log_tail(log);
    let of_memory = log.contains("MemoryError") || log.contains("bad_alloc");
    match problem {
        Some(Problem { kind, message }) if kind != "memory" => {
            let message: String = message.chars().take(500).collect();
            match kind.as_str() {
                "refused" => {
                    failed(message).action("correct the file, or `pipeline.source` and `function` in the configuration")
                }
                "compile" => failed(format!("{path} cannot be compiled: {message}")),
                "missing" => missing(job).on(name),
                "source" => Failure::new(Reason::SourceInvalid, format!("the source archive is not valid: {message}"))
                    .on(&job.source.key),
                _ => failed(format!("{path} cannot be imported: {message}")).action(way_out(&message)),
            }
        }
        problem if problem.is_some() || of_memory => {
            failed(format!("compiling {path} needed more memory than {memory} MiB"))
                .action("importing the file must not load data: move such work into components")
        }
        _ => failed(format!("compiling {path} ended without a result: {ended}")),
    }
}

/// The file is not there.
pub(crate) fn missing(job: &CompileJob) -> Failure {
    let commit = job.source.commit.get(..7).unwrap_or("its commit");
    let message = format!("there is no file {} in the repository at {commit}", job.path);
    Failure::new(Reason::CompileFailed, message).action("correct `pipeline.source` in the configuration")
}

/// It took too long.
pub(crate) fn timed_out(job: &CompileJob, limit: Duration, log: &str) -> Failure {
    // As the setting is written.
    let limit = serde_json::to_value(HumanDuration(limit)).ok();
    let limit = limit.as_ref().and_then(|value| value.as_str()).unwrap_or_default();
    Failure::new(Reason::CompileTimeout, format!("compiling {} took longer than {limit}", job.path))
        .on(format!("pipelineVersions/{}", job.version))
        .action("importing the file must not train or download anything: move such work into components")
        .log_tail(log)
}

/// What helps against an exception while the file is imported, by its last line.
fn way_out(message: &str) -> &'static str {
    let is = |names: &[&str]| names.iter().any(|name| message.starts_with(name));
    if is(&["ModuleNotFoundError", "ImportError"]) {
        "the file may import kfp and files of its repository; import anything else inside of the components"
    } else if is(&["SyntaxError", "IndentationError", "TabError"]) {
        "correct the line that the log names, and push"
    } else {
        "correct the line that the log names, and push; importing the file may only define the pipeline"
    }
}

/// The failure of a specification that KFP's schema does not allow; None when there is no problem.
pub(crate) fn against_schema(problems: &[&str]) -> Option<Failure> {
    let first: String = problems.first()?.chars().take(500).collect();
    let message = format!("the compiled pipeline is not valid KFP 2 IR: {first}");
    Some(crate::ir::invalid(message).log_tail(&problems.join("\n")))
}
