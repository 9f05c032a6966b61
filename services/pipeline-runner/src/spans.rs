//! Spans of what has ended, with their true times.

use kfops_core::TraceContext;
use kfops_telemetry::Span;

use crate::{
    life::{Life, State},
    run::{Run, Task},
    version::PipelineVersion,
};

/// The key of a task's span below its run's. Part of the contract with tasks, which are told its id in TRACEPARENT.
fn task_key(task: &str) -> String {
    format!("tasks/{task}")
}

/// `compile <pipeline>` with its phases.
pub(crate) fn of_version(version: &PipelineVersion) -> Vec<Span> {
    let Some(caller) = version.life.trace else { return Vec::new() };
    let name = version.name();
    let mut top = top(&caller, &name, format!("compile {}", version.spec.pipeline), &version.life)
        .with("kfops.pipeline_version.id", version.life.id.as_str())
        .with("kfops.pipeline.name", version.spec.pipeline.as_str())
        .with("kfops.sandbox", version.sandbox.as_str())
        .with("vcs.ref.head.revision", version.spec.source.commit.as_str());
    if let Some(digest) = &version.spec_digest {
        top = top.with("kfops.spec.digest", digest.as_str());
    }
    let parent = caller.child(&name);
    let phases = version.phases.iter().map(|phase| {
        Span::child(&parent, &phase.name, phase.name.clone(), phase.start, phase.end).failed(phase.error.clone())
    });
    std::iter::once(top).chain(phases).collect()
}

/// `run <pipeline>` with its tasks.
pub(crate) fn of_run(run: &Run) -> Vec<Span> {
    let Some(caller) = run.life.trace else { return Vec::new() };
    let name = run.name();
    let mut top = top(&caller, &name, format!("run {}", run.pipeline), &run.life)
        .with("kfops.run.id", run.life.id.as_str())
        .with("kfops.run.attempt", run.attempt)
        .with("kfops.pipeline.name", run.pipeline.as_str())
        .with("kfops.pipeline_version.id", run.spec.version.as_str())
        .with("kfops.metrics", serde_json::to_string(&run.metrics()).unwrap_or_default());
    if let Some(model) = &run.model {
        top = top.with("kfops.model.digest", model.digest.as_str()).with("kfops.model.uri", model.uri.as_str());
    }
    let parent = caller.child(&name);
    let tasks = run.tasks.iter().filter_map(|task| of_task(&parent, run, task));
    std::iter::once(top).chain(tasks).collect()
}

fn of_task(parent: &TraceContext, run: &Run, task: &Task) -> Option<Span> {
    let (start, end) = (task.start_time?, task.end_time?);
    let error = match (&task.failure, task.state) {
        (Some(failure), _) => Some(failure.message.clone()),
        (None, State::Failed) => Some("failed".into()),
        _ => None,
    };
    let mut span = Span::child(parent, &task_key(&task.name), format!("task {}", task.name), start, end)
        .with("kfops.run.id", run.life.id.as_str())
        .with("kfops.task.name", task.name.as_str())
        .with("container.image.name", task.image.as_str())
        .failed(error);
    if !task.metrics.is_empty() {
        span = span.with("kfops.metrics", serde_json::to_string(&task.metrics).unwrap_or_default());
    }
    Some(span)
}

fn top(caller: &TraceContext, key: &str, title: String, life: &Life) -> Span {
    let end = life.end_time.unwrap_or(life.update_time);
    // The time in the queue belongs to it: that is what the caller waits for.
    Span::child(caller, key, title, life.create_time, end)
        .failed(life.failure.as_ref().map(|failure| failure.message.clone()))
}
