//! Messages as records, records as messages.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use kfops_core::{Digest, Failure, Reason, ResourceId, TraceContext};
use kfops_proto::{common, pipeline as pb};
use kfops_resource::Record as _;
use kfops_rpc::{failure_to_proto, time_to_proto};
use prost_types::value::Kind;
use serde_json::{Number, Value};

use super::refuse;
use crate::{
    life::{Life, State},
    run::{ModelSource, Run, RunSpec, Task},
    version::{Image, PipelineVersion, Source, VersionSpec},
};

/// Values inside of values inside of …
const DEPTH: usize = 32;

pub(super) fn new_version(
    request: pb::CreatePipelineVersionRequest,
    now: SystemTime,
    trace: Option<TraceContext>,
) -> Result<PipelineVersion, Failure> {
    let id = new_id(&request.pipeline_version_id, "pipeline_version_id")?;
    let Some(version) = request.pipeline_version else { return refuse("pipeline_version", "it is missing") };
    let Some(source) = version.source else { return refuse("pipeline_version.source", "it is missing") };
    if source.key.is_empty() {
        return refuse("pipeline_version.source.key", "it is missing");
    }
    let digest = |text: &str, field: String| {
        Digest::parse(text).map_err(|error| Failure::new(Reason::InvalidArgument, error.to_string()).on(field))
    };
    let images = version.images.into_iter().enumerate().map(|(index, image)| {
        let digest = digest(&image.digest, format!("pipeline_version.images[{index}].digest"))?;
        Ok(Image { name: image.name, repository: image.repository, digest })
    });
    let spec = VersionSpec {
        source: Source {
            digest: digest(&source.digest, "pipeline_version.source.digest".into())?,
            key: source.key,
            commit: source.commit,
            repository: source.repository,
        },
        pipeline: version.pipeline,
        path: version.path,
        function: version.function,
        description: version.description,
        images: images.collect::<Result<_, Failure>>()?,
    };
    Ok(PipelineVersion {
        life: Life::new(PipelineVersion::COLLECTION, &id, now, trace),
        spec,
        sandbox: String::new(),
        spec_digest: None,
        parameters: BTreeMap::new(),
        phases: Vec::new(),
    })
}

pub(super) fn new_run(
    request: pb::CreateRunRequest,
    now: SystemTime,
    trace: Option<TraceContext>,
) -> Result<Run, Failure> {
    let id = new_id(&request.run_id, "run_id")?;
    let Some(run) = request.run else { return refuse("run", "it is missing") };
    let version = match ResourceId::of_name(PipelineVersion::COLLECTION, &run.pipeline_version) {
        Ok(version) => version.to_string(),
        Err(error) => return refuse("run.pipeline_version", format!("{error}, as in pipelineVersions/<id>")),
    };
    let timeout = match run.timeout {
        None => None,
        Some(timeout) => match Duration::try_from(timeout) {
            Ok(timeout) => Some(timeout),
            Err(_) => return refuse("run.timeout", "it must not be negative"),
        },
    };
    let arguments = run.arguments.into_iter().map(|(name, value)| match value_from_proto(value, DEPTH) {
        Some(value) => Ok((name, value)),
        None => refuse(&format!("run.arguments.{name}"), "it is nested too deeply or not a finite number"),
    });
    let spec = RunSpec {
        version,
        arguments: arguments.collect::<Result<_, Failure>>()?,
        model_source: run.model_source.map(|source| ModelSource { task: source.task, output: source.output }),
        experiment: run.experiment,
        timeout,
    };
    Ok(Run {
        life: Life::new(Run::COLLECTION, &id, now, trace),
        spec,
        pipeline: String::new(),
        commit: String::new(),
        attempt: 0,
        tasks: Vec::new(),
        model: None,
    })
}

fn new_id(id: &str, field: &str) -> Result<String, Failure> {
    ResourceId::parse(id).map(|id| id.to_string()).or_else(|error| refuse(field, error))
}

pub(super) fn version_to_proto(version: &PipelineVersion) -> pb::PipelineVersion {
    let (life, spec) = (&version.life, &version.spec);
    let compiled = version.spec_digest.is_some();
    pb::PipelineVersion {
        name: version.name(),
        uid: life.uid.clone(),
        state: state_to_proto(life.state).into(),
        create_time: Some(time_to_proto(life.create_time)),
        update_time: Some(time_to_proto(life.update_time)),
        end_time: life.end_time.map(time_to_proto),
        failure: life.failure.as_ref().map(failure_to_proto),
        source: Some(common::SourceArchive {
            key: spec.source.key.clone(),
            digest: spec.source.digest.to_string(),
            commit: spec.source.commit.clone(),
            repository: spec.source.repository.clone(),
        }),
        pipeline: spec.pipeline.clone(),
        path: spec.path.clone(),
        function: spec.function.clone(),
        description: spec.description.clone(),
        images: spec
            .images
            .iter()
            .map(|image| common::ImageReference {
                name: image.name.clone(),
                repository: image.repository.clone(),
                digest: image.digest.to_string(),
            })
            .collect(),
        spec_digest: version.spec_digest.as_ref().map(ToString::to_string).unwrap_or_default(),
        spec_key: if compiled { version.spec_key() } else { String::new() },
        parameters: version.parameters.keys().cloned().collect(),
        sandbox: version.sandbox.clone(),
        log_key: if life.start_time.is_some() { version.log_key() } else { String::new() },
    }
}

pub(super) fn run_to_proto(run: &Run) -> pb::Run {
    let (life, spec) = (&run.life, &run.spec);
    pb::Run {
        name: run.name(),
        uid: life.uid.clone(),
        state: state_to_proto(life.state).into(),
        create_time: Some(time_to_proto(life.create_time)),
        update_time: Some(time_to_proto(life.update_time)),
        end_time: life.end_time.map(time_to_proto),
        failure: life.failure.as_ref().map(failure_to_proto),
        pipeline_version: format!("{}/{}", PipelineVersion::COLLECTION, spec.version),
        arguments: values_to_proto(&spec.arguments),
        model_source: spec
            .model_source
            .as_ref()
            .map(|source| pb::ModelSource { task: source.task.clone(), output: source.output.clone() }),
        experiment: spec.experiment.clone(),
        timeout: spec.timeout.and_then(|timeout| timeout.try_into().ok()),
        tasks: run.tasks.iter().map(|task| task_to_proto(run, task)).collect(),
        metrics: run.metrics().into_iter().collect(),
        model: run.model.as_ref().map(|model| common::Model {
            uri: model.uri.clone(),
            digest: model.digest.to_string(),
            size_bytes: i64::try_from(model.size).unwrap_or(i64::MAX),
        }),
        log_key: if run.attempt > 0 { run.log_key() } else { String::new() },
        commit: run.commit.clone(),
        attempt: run.attempt,
    }
}

fn task_to_proto(run: &Run, task: &Task) -> pb::Task {
    pb::Task {
        name: task.name.clone(),
        state: state_to_proto(task.state).into(),
        start_time: task.start_time.map(time_to_proto),
        end_time: task.end_time.map(time_to_proto),
        image: task.image.clone(),
        metrics: task.metrics.clone().into_iter().collect(),
        inputs: values_to_proto(&task.inputs),
        outputs: values_to_proto(&task.outputs),
        failure: task.failure.as_ref().map(failure_to_proto),
        log_key: if task.logged { run.task_log_key(&task.name) } else { String::new() },
    }
}

fn state_to_proto(state: State) -> pb::State {
    match state {
        State::Pending => pb::State::Pending,
        State::Running => pb::State::Running,
        State::Succeeded => pb::State::Succeeded,
        State::Failed => pb::State::Failed,
        State::Canceled => pb::State::Canceled,
        State::Skipped => pb::State::Skipped,
    }
}

fn values_to_proto<M: FromIterator<(String, prost_types::Value)>>(values: &BTreeMap<String, Value>) -> M {
    values.iter().map(|(name, value)| (name.clone(), value_to_proto(value))).collect()
}

fn value_to_proto(value: &Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(truth) => Kind::BoolValue(*truth),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(values) => {
            Kind::ListValue(prost_types::ListValue { values: values.iter().map(value_to_proto).collect() })
        }
        Value::Object(fields) => Kind::StructValue(prost_types::Struct {
            fields: fields.iter().map(|(name, value)| (name.clone(), value_to_proto(value))).collect(),
        }),
    };
    prost_types::Value { kind: Some(kind) }
}

fn value_from_proto(value: prost_types::Value, depth: usize) -> Option<Value> {
    let deeper = depth.checked_sub(1)?;
    Some(match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(truth)) => Value::Bool(truth),
        Some(Kind::NumberValue(number)) => Value::Number(Number::from_f64(number)?),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::ListValue(list)) => {
            Value::Array(list.values.into_iter().map(|value| value_from_proto(value, deeper)).collect::<Option<_>>()?)
        }
        Some(Kind::StructValue(map)) => Value::Object(
            map.fields
                .into_iter()
                .map(|(name, value)| Some((name, value_from_proto(value, deeper)?)))
                .collect::<Option<_>>()?,
        ),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_survive_the_wire() {
        let value = json!({"a": [1.0, "x", null, true], "b": {"c": 2.5}});
        assert_eq!(value_from_proto(value_to_proto(&value), DEPTH), Some(value));
    }

    #[test]
    fn values_that_are_too_deep_or_no_numbers_are_refused() {
        let deep = (0..40).fold(json!(1.0), |value, _| json!([value]));
        assert_eq!(value_from_proto(value_to_proto(&deep), DEPTH), None);
        let nan = prost_types::Value { kind: Some(Kind::NumberValue(f64::NAN)) };
        assert_eq!(value_from_proto(nan, DEPTH), None);
    }
}
