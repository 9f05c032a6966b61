//! Rollouts, steps, InferenceServices and revisions: protobuf messages <-> the domain.

use std::time::Duration;

use kfops_core::{Digest, Failure, ResourceId};
use kfops_proto::{common, serving as wire};
use kfops_rpc::{failure_to_proto, time_to_proto};

use super::invalid;
use crate::{
    deployer::Seen,
    rollout::{self, Rollout, Source, Stage, State, Step, Strategy},
    service::{Model, Revision, ServiceName},
};

pub(super) fn request_from(rollout: wire::Rollout) -> Result<rollout::Request, Failure> {
    let service =
        ServiceName::parse(&rollout.inference_service).map_err(|failure| failure.on("rollout.inference_service"))?;
    let source = rollout.source.ok_or_else(|| invalid("rollout.source", "is missing"))?;
    let model = rollout.model.ok_or_else(|| invalid("rollout.model", "is missing"))?;
    if model.uri.is_empty() {
        return Err(invalid("rollout.model.uri", "is missing"));
    }
    if source.key.is_empty() {
        return Err(invalid("rollout.source.key", "is missing"));
    }
    if rollout.template_path.is_empty() {
        return Err(invalid("rollout.template_path", "is missing"));
    }
    if !rollout.run.is_empty() {
        ResourceId::of_name("runs", &rollout.run).map_err(|error| invalid("rollout.run", error.to_string()))?;
    }
    if rollout.fence < 0 {
        return Err(invalid("rollout.fence", "must not be negative"));
    }
    Ok(rollout::Request {
        service,
        source: Source {
            digest: Digest::parse(&source.digest).map_err(|e| invalid("rollout.source.digest", e.to_string()))?,
            key: source.key,
            commit: source.commit,
            repository: source.repository,
        },
        template: rollout.template_path,
        sample: rollout.sample_path,
        golden: rollout.golden_path,
        model: Model { uri: model.uri, digest: model.digest, size_bytes: model.size_bytes },
        run: rollout.run,
        strategy: strategy_from(rollout.strategy.unwrap_or_default())?,
        fence: rollout.fence,
    })
}

fn strategy_from(strategy: wire::Strategy) -> Result<Strategy, Failure> {
    let mut canary = Vec::new();
    for percent in strategy.canary {
        match u8::try_from(percent) {
            Ok(percent @ 1..=99) if canary.last().is_none_or(|last| *last < percent) => canary.push(percent),
            _ => return Err(invalid("rollout.strategy.canary", "must be percentages from 1 to 99, rising")),
        }
    }
    let share = |value: f64, most: f64| (0.0..=most).contains(&value);
    if !share(strategy.max_error_rate, 1.0) {
        return Err(invalid("rollout.strategy.max_error_rate", "must be a share from 0 to 1"));
    }
    if !share(strategy.max_p99_increase, 1e6) {
        return Err(invalid("rollout.strategy.max_p99_increase", "must not be negative"));
    }
    let min_requests = u64::try_from(strategy.min_requests)
        .map_err(|_| invalid("rollout.strategy.min_requests", "must not be negative"))?;
    Ok(Strategy {
        canary,
        hold: duration("rollout.strategy.hold", strategy.hold)?,
        max_error_rate: strategy.max_error_rate,
        max_p99_increase: strategy.max_p99_increase,
        min_requests: (min_requests > 0).then_some(min_requests),
        timeout: duration("rollout.strategy.timeout", strategy.timeout)?,
    })
}

fn duration(field: &str, value: Option<prost_types::Duration>) -> Result<Option<Duration>, Failure> {
    const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
    let Some(value) = value else { return Ok(None) };
    match Duration::try_from(value) {
        Ok(duration) if duration <= LONGEST => Ok(Some(duration)),
        _ => Err(invalid(field, "must be from 0 to 7 days")),
    }
}

fn state_to(state: State) -> i32 {
    match state {
        State::Pending => wire::State::Pending,
        State::Running => wire::State::Running,
        State::Succeeded => wire::State::Succeeded,
        State::Failed => wire::State::Failed,
        State::Canceled => wire::State::Canceled,
        State::Skipped => wire::State::Skipped,
    }
    .into()
}

pub(super) fn rollout_to(rollout: Rollout) -> wire::Rollout {
    let name = rollout.name();
    let ended = rollout.ended.is_some();
    let request = rollout.request;
    let strategy = request.strategy;
    wire::Rollout {
        name,
        uid: rollout.uid,
        state: state_to(rollout.state),
        create_time: Some(time_to_proto(rollout.created)),
        update_time: Some(time_to_proto(rollout.updated)),
        end_time: rollout.ended.map(time_to_proto),
        // Known while it is undone already, but a resource fails when it has ended.
        // One that has not begun has a failure only as a preview.
        failure: rollout.failure.filter(|_| ended || rollout.stage == Stage::Queued).as_ref().map(failure_to_proto),
        inference_service: request.service.resource(),
        source: Some(common::SourceArchive {
            key: request.source.key,
            digest: request.source.digest.to_string(),
            commit: request.source.commit,
            repository: request.source.repository,
        }),
        template_path: request.template,
        sample_path: request.sample,
        golden_path: request.golden,
        model: Some(model_to(request.model)),
        run: request.run,
        strategy: Some(wire::Strategy {
            canary: strategy.canary.into_iter().map(i32::from).collect(),
            hold: strategy.hold.and_then(|d| d.try_into().ok()),
            max_error_rate: strategy.max_error_rate,
            max_p99_increase: strategy.max_p99_increase,
            min_requests: i32::try_from(strategy.min_requests.unwrap_or_default()).unwrap_or(i32::MAX),
            timeout: strategy.timeout.and_then(|d| d.try_into().ok()),
        }),
        revision: rollout.revision,
        previous_revision: rollout.previous,
        steps: rollout.steps.into_iter().map(step_to).collect(),
        endpoint: rollout.endpoint,
        sample_response: rollout.sample_response,
        manifest: rollout.manifest,
        fence: request.fence,
    }
}

fn step_to(step: Step) -> wire::RolloutStep {
    wire::RolloutStep {
        title: step.title,
        state: state_to(step.state),
        start_time: Some(time_to_proto(step.start)),
        end_time: step.end.map(time_to_proto),
        message: step.message,
        percent: step.percent.into(),
        requests: i64::try_from(step.requests).unwrap_or(i64::MAX),
        errors: i64::try_from(step.errors).unwrap_or(i64::MAX),
        p99_ms: step.p99_ms,
        live_p99_ms: step.live_p99_ms,
    }
}

fn model_to(model: Model) -> common::Model {
    common::Model { uri: model.uri, digest: model.digest, size_bytes: model.size_bytes }
}

pub(super) fn service_to(seen: Seen) -> wire::InferenceService {
    let Seen { service, endpoint, unanswered, notices } = seen;
    let mut revisions: Vec<_> = service.revisions.into_iter().map(revision_to).collect();
    if let Some(live) = revisions.iter_mut().find(|revision| revision.name == service.live) {
        live.unanswered = unanswered.unwrap_or_default();
    }
    wire::InferenceService { name: service.name.resource(), endpoint, live_revision: service.live, revisions, notices }
}

fn revision_to(revision: Revision) -> wire::Revision {
    wire::Revision {
        name: revision.name,
        state: revision.state.as_str().into(),
        percent: revision.percent.unwrap_or_default().into(),
        model: Some(model_to(revision.model)),
        run: revision.run,
        rollout: if revision.rollout.is_empty() { String::new() } else { format!("rollouts/{}", revision.rollout) },
        commit: revision.commit,
        create_time: Some(time_to_proto(revision.created)),
        manifest: revision.manifest,
        unanswered: String::new(),
    }
}
