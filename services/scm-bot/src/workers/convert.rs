//! Between the workers' protobuf messages and the domain.

use std::time::{Duration, SystemTime};

use kfops_core::Failure;
use kfops_proto::{build as pb_build, common, pipeline as pb_pipeline, serving as pb_serving};
use kfops_rpc::{failure_from_proto, time_from_proto};

use super::records;
pub(super) use crate::ports::WorkState;
use crate::{
    command::{Image, Source},
    ports::{Snapshot, Work, WorkResult},
    step::{Stage, Step, StepState},
};

fn source(source: &Source, repository: &str) -> Option<common::SourceArchive> {
    Some(common::SourceArchive {
        key: source.key.clone(),
        digest: source.digest.clone(),
        commit: source.commit.clone(),
        repository: repository.to_owned(),
    })
}

fn image(image: &Image) -> common::ImageReference {
    common::ImageReference {
        name: image.name.clone(),
        repository: image.repository.clone(),
        digest: image.digest.clone(),
    }
}

fn duration(duration: Duration) -> Option<prost_types::Duration> {
    duration.try_into().ok()
}

pub(super) fn build(work: &Work) -> pb_build::Build {
    let Work::Build { source: files, repository, images, registry, insecure } = work else {
        return pb_build::Build::default();
    };
    let spec = |image: &kfops_project::Image| pb_build::ImageSpec {
        name: image.name.clone(),
        context: image.context.clone(),
        dockerfile: image.dockerfile.clone(),
        include: image.include.clone(),
        build_args: image.args.clone().into_iter().collect(),
    };
    pb_build::Build {
        source: source(files, repository),
        registry: registry.clone(),
        insecure: *insecure,
        images: images.iter().map(spec).collect(),
        ..Default::default()
    }
}

pub(super) fn version(work: &Work) -> pb_pipeline::PipelineVersion {
    let Work::Compile { source: files, repository, pipeline, images } = work else { return Default::default() };
    pb_pipeline::PipelineVersion {
        source: source(files, repository),
        pipeline: pipeline.name.clone(),
        path: pipeline.source.clone(),
        function: pipeline.function.clone().unwrap_or_default(),
        description: pipeline.description.clone(),
        images: images.iter().map(image).collect(),
        ..Default::default()
    }
}

pub(super) fn run(work: &Work, limit: Duration) -> pb_pipeline::Run {
    let Work::Run { version, arguments, pipeline } = work else { return Default::default() };
    pb_pipeline::Run {
        pipeline_version: format!("pipelineVersions/{version}"),
        arguments: arguments.iter().map(|(name, value)| (name.clone(), json(value))).collect(),
        model_source: Some(pb_pipeline::ModelSource {
            task: pipeline.model.task.clone().unwrap_or_default(),
            output: pipeline.model.output.clone(),
        }),
        experiment: pipeline.experiment().to_owned(),
        timeout: duration(limit),
        ..Default::default()
    }
}

pub(super) fn rollout(work: &Work) -> pb_serving::Rollout {
    let Work::Rollout { source: files, repository, inference_service, serving, strategy, model, run, fence } = work
    else {
        return Default::default();
    };
    pb_serving::Rollout {
        inference_service: inference_service.clone(),
        source: source(files, repository),
        template_path: serving.template.clone(),
        sample_path: serving.sample.clone().unwrap_or_default(),
        golden_path: serving.golden.clone().unwrap_or_default(),
        model: Some(common::Model { uri: model.uri.clone(), digest: model.digest.clone(), size_bytes: model.size }),
        // A preview may come before the run.
        run: if run.is_empty() { String::new() } else { format!("runs/{run}") },
        fence: i64::try_from(*fence).unwrap_or(i64::MAX),
        strategy: Some(pb_serving::Strategy {
            canary: strategy.canary.iter().map(|percent| i32::from(*percent)).collect(),
            hold: duration(strategy.hold.get()),
            max_error_rate: strategy.max_error_rate.fraction(),
            max_p99_increase: strategy.max_p99_increase.map_or(0.0, kfops_project::Percent::fraction),
            min_requests: i32::try_from(strategy.min_requests).unwrap_or(i32::MAX),
            timeout: duration(strategy.timeout.get()),
        }),
        ..Default::default()
    }
}

fn json(value: &serde_json::Value) -> prost_types::Value {
    use prost_types::value::Kind;
    let kind = match value {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(bool) => Kind::BoolValue(*bool),
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Kind::StringValue(text.clone()),
        serde_json::Value::Array(items) => {
            Kind::ListValue(prost_types::ListValue { values: items.iter().map(json).collect() })
        }
        serde_json::Value::Object(fields) => Kind::StructValue(prost_types::Struct {
            fields: fields.iter().map(|(name, value)| (name.clone(), json(value))).collect(),
        }),
    };
    prost_types::Value { kind: Some(kind) }
}

/// What `json` made of it, back again: whole numbers are whole.
pub(super) fn plain(value: prost_types::Value) -> serde_json::Value {
    use prost_types::value::Kind;
    match value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::BoolValue(bool)) => bool.into(),
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and small")]
        Some(Kind::NumberValue(number)) if number.fract() == 0.0 && number.abs() < 1e15 => (number as i64).into(),
        Some(Kind::NumberValue(number)) => number.into(),
        Some(Kind::StringValue(text)) => text.into(),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(plain).collect(),
        Some(Kind::StructValue(fields)) => {
            serde_json::Value::Object(fields.fields.into_iter().map(|(name, value)| (name, plain(value))).collect())
        }
    }
}

/// The numbers of the four State enums agree, except that only pipelines skip.
fn progress(state: i32) -> StepState {
    match state {
        2 => StepState::Running,
        3 => StepState::Succeeded,
        4 => StepState::Failed,
        5 => StepState::Canceled,
        6 => StepState::Skipped,
        _ => StepState::Pending,
    }
}

pub(super) fn work_state(state: i32) -> WorkState {
    match progress(state) {
        StepState::Succeeded => WorkState::Succeeded,
        StepState::Failed => WorkState::Failed,
        StepState::Canceled => WorkState::Canceled,
        _ => WorkState::Open,
    }
}

fn time(time: Option<&prost_types::Timestamp>) -> Option<SystemTime> {
    time.and_then(time_from_proto)
}

pub(super) fn failure(failure: Option<common::Failure>, name: &str) -> Option<Failure> {
    failure.map(|failure| {
        let failure = failure_from_proto(failure);
        if failure.resource.is_empty() { failure.on(name) } else { failure }
    })
}

/// A part of a stage with its times.
fn part(
    stage: Stage,
    title: String,
    state: i32,
    times: (Option<&prost_types::Timestamp>, Option<&prost_types::Timestamp>),
) -> Step {
    Step { start: time(times.0), end: time(times.1), ..Step::part(stage, title, progress(state)) }
}

pub(super) fn of_build(build: pb_build::Build) -> Snapshot {
    let parts = build.results.iter().enumerate().map(|(at, result)| {
        let name = result.image.as_ref().map(|image| image.name.as_str()).filter(|name| !name.is_empty());
        let name = name.or_else(|| build.images.get(at).map(|spec| spec.name.as_str())).unwrap_or_default();
        let mut step = part(
            Stage::Build,
            format!("image {name}"),
            result.state,
            (result.start_time.as_ref(), result.end_time.as_ref()),
        );
        step.resource = format!("{}/images/{name}", build.name);
        step.log_key = result.log_key.clone();
        step.message = match (&result.failure, step.state, &result.image) {
            (Some(failure), ..) => failure.message.clone(),
            (None, StepState::Succeeded, Some(image)) => {
                let how = if result.reused { "reused" } else { "built" };
                format!("{how} · {}", image.digest.get(..19).unwrap_or(&image.digest))
            }
            _ => String::new(),
        };
        step
    });
    let parts = parts.collect();
    let reused = build.results.iter().filter(|result| result.reused);
    let reused = reused.filter_map(|result| Some(result.image.as_ref()?.name.clone())).collect();
    let images = build.results.iter().filter_map(|result| result.image.clone());
    let images = images.filter(|image| !image.digest.is_empty()).map(records::image).collect();
    let log_key = build.results.iter().find(|result| result.failure.is_some()).map(|result| result.log_key.clone());
    Snapshot {
        state: work_state(build.state),
        failure: failure(build.failure, &build.name),
        parts,
        log_key: log_key.unwrap_or_default(),
        result: WorkResult::Build(images, reused),
    }
}

pub(super) fn of_version(version: pb_pipeline::PipelineVersion) -> Snapshot {
    Snapshot {
        state: work_state(version.state),
        failure: failure(version.failure, &version.name),
        parts: Vec::new(),
        log_key: version.log_key,
        result: WorkResult::Compile(version.spec_digest),
    }
}

pub(super) fn of_run(run: pb_pipeline::Run) -> Snapshot {
    let parts = run.tasks.iter().map(|task| {
        let mut step = part(
            Stage::Run,
            format!("task {}", task.name),
            task.state,
            (task.start_time.as_ref(), task.end_time.as_ref()),
        );
        step.resource = format!("{}/tasks/{}", run.name, task.name);
        step.log_key = task.log_key.clone();
        let mut metrics: Vec<String> = task.metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
        metrics.sort();
        metrics.truncate(4);
        step.message = task.failure.as_ref().map_or_else(|| metrics.join(" · "), |failure| failure.message.clone());
        step
    });
    Snapshot {
        state: work_state(run.state),
        parts: parts.collect(),
        failure: failure(run.failure, &run.name),
        log_key: run.log_key,
        result: WorkResult::Run(run.metrics.into_iter().collect(), run.model.map(records::model)),
    }
}

pub(super) fn of_rollout(rollout: pb_serving::Rollout) -> Snapshot {
    let parts = rollout.steps.iter().map(|shown| {
        let title = match shown.title.as_str() {
            "revision" if !rollout.revision.is_empty() => format!("revision {}", rollout.revision),
            title => title.to_owned(),
        };
        let step = part(Stage::Rollout, title, shown.state, (shown.start_time.as_ref(), shown.end_time.as_ref()));
        Step { message: shown.message.clone(), resource: rollout.name.clone(), ..step }
    });
    let id = rollout.name.rsplit('/').next().unwrap_or_default();
    Snapshot {
        state: work_state(rollout.state),
        parts: parts.collect(),
        log_key: format!("logs/rollouts/{id}.log"),
        failure: failure(rollout.failure, &rollout.name),
        result: WorkResult::Rollout(rollout.revision, rollout.previous_revision, rollout.endpoint),
    }
}
