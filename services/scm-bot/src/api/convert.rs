//! The domain's values as protobuf messages.

use kfops_proto::{command as pb, common};
use kfops_rpc::{failure_to_proto, time_to_proto};

use crate::{
    command::{Command, Lineage, Origin, State},
    ports::Lock,
    step::{Step, StepState},
    verb::Verb,
};

const VERBS: [(Verb, pb::Verb); 15] = [
    (Verb::Build, pb::Verb::Build),
    (Verb::Run, pb::Verb::Run),
    (Verb::BuildRun, pb::Verb::BuildRun),
    (Verb::Deploy, pb::Verb::Deploy),
    (Verb::StagingDeploy, pb::Verb::StagingDeploy),
    (Verb::Ship, pb::Verb::Ship),
    (Verb::Plan, pb::Verb::Plan),
    (Verb::Promote, pb::Verb::Promote),
    (Verb::Rollback, pb::Verb::Rollback),
    (Verb::Cancel, pb::Verb::Cancel),
    (Verb::Retry, pb::Verb::Retry),
    (Verb::Status, pb::Verb::Status),
    (Verb::Why, pb::Verb::Why),
    (Verb::Unlock, pb::Verb::Unlock),
    (Verb::Help, pb::Verb::Help),
];

pub(super) fn verb_of(verb: pb::Verb) -> Option<Verb> {
    VERBS.iter().find(|(_, wire)| *wire == verb).map(|(verb, _)| *verb)
}

fn verb(verb: Verb) -> pb::Verb {
    VERBS.iter().find(|(known, _)| *known == verb).map_or(pb::Verb::Unspecified, |(_, wire)| *wire)
}

const fn state(state: State) -> pb::State {
    match state {
        State::Received => pb::State::Received,
        State::Accepted => pb::State::Accepted,
        State::Refused => pb::State::Refused,
        State::Running => pb::State::Running,
        State::Succeeded => pb::State::Succeeded,
        State::Failed => pb::State::Failed,
        State::Canceled => pb::State::Canceled,
        State::Superseded => pb::State::Superseded,
    }
}

const fn step_state(state: StepState) -> pb::StepState {
    match state {
        StepState::Pending => pb::StepState::Pending,
        StepState::Running => pb::StepState::Running,
        StepState::Succeeded => pb::StepState::Succeeded,
        StepState::Failed => pb::StepState::Failed,
        StepState::Skipped => pb::StepState::Skipped,
        StepState::Canceled => pb::StepState::Canceled,
    }
}

fn step(step: &Step) -> pb::Step {
    pb::Step {
        title: step.title.clone(),
        state: step_state(step.state).into(),
        start_time: step.start.map(time_to_proto),
        end_time: step.end.map(time_to_proto),
        message: step.message.clone(),
        resource: step.resource.clone(),
        log_key: step.log_key.clone(),
    }
}

fn lineage(lineage: &Lineage, commit: &str) -> pb::Lineage {
    let name =
        |collection: &str, id: &Option<String>| id.as_ref().map(|id| format!("{collection}/{id}")).unwrap_or_default();
    let images = lineage.images.iter().map(|image| common::ImageReference {
        name: image.name.clone(),
        repository: image.repository.clone(),
        digest: image.digest.clone(),
    });
    pb::Lineage {
        commit: lineage.source.as_ref().map_or(commit, |source| &source.commit).to_owned(),
        source_digest: lineage.source.as_ref().map(|source| source.digest.clone()).unwrap_or_default(),
        images: images.collect(),
        pipeline_version: name("pipelineVersions", &lineage.version),
        spec_digest: lineage.spec_digest.clone(),
        run: name("runs", &lineage.run),
        metrics: lineage.metrics.clone().into_iter().collect(),
        model: lineage.model.as_ref().map(|model| common::Model {
            uri: model.uri.clone(),
            digest: model.digest.clone(),
            size_bytes: model.size,
        }),
        inference_service: lineage.inference_service.clone(),
        revision: lineage.revision.clone(),
        previous_revision: lineage.previous_revision.clone(),
        endpoint: lineage.endpoint.clone(),
        reused_images: lineage.reused.clone(),
        merge_commit: lineage.merge_commit.clone(),
    }
}

pub(super) fn command(command: &Command) -> pb::Command {
    let (comment, delivery) = match &command.origin {
        Origin::Comment { comment, delivery, .. } => (i64::try_from(*comment).unwrap_or_default(), delivery.clone()),
        Origin::Button { delivery, .. } => (0, delivery.clone()),
        Origin::Api => (0, String::new()),
    };
    pb::Command {
        name: format!("commands/{}", command.id),
        uid: command.seq.to_string(),
        state: state(command.state).into(),
        create_time: Some(time_to_proto(command.received)),
        update_time: Some(time_to_proto(command.updated)),
        start_time: command.started.map(time_to_proto),
        end_time: command.ended.map(time_to_proto),
        failure: command.failure.as_ref().map(failure_to_proto),
        verb: verb(command.verb).into(),
        arguments: command.arguments.clone(),
        repository: command.repository.to_string(),
        pull_request: i64::try_from(command.pull_request).unwrap_or(i64::MAX),
        actor: command.actor.clone(),
        commit: command.commit().to_owned(),
        comment_id: comment,
        delivery,
        trace_id: command.trace.trace_id.to_string(),
        steps: command.steps.iter().map(step).collect(),
        lineage: Some(lineage(&command.lineage, command.commit())),
        github_calls: i32::try_from(command.github_calls).unwrap_or(i32::MAX),
        answer: command.answer.clone(),
        retry_of: command.retry_of.as_ref().map(|id| format!("commands/{id}")).unwrap_or_default(),
        target: command.target.clone().unwrap_or_default(),
        fence: i64::try_from(command.fence).unwrap_or(i64::MAX),
    }
}

pub(super) fn lock(lock: &Lock) -> pb::Lock {
    let name = |id: &String| format!("commands/{id}");
    pb::Lock {
        target: lock.target.clone(),
        holder: lock.holder.as_ref().map(name).unwrap_or_default(),
        fence: i64::try_from(lock.fence).unwrap_or(i64::MAX),
        since: Some(time_to_proto(lock.since)),
        queue: lock.queue.iter().map(name).collect(),
    }
}
