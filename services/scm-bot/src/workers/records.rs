//! The workers' records and previews, from protobuf to the domain.

use kfops_core::{Failure, Reason};
use kfops_proto::{build as pb_build, common, pipeline as pb_pipeline, serving as pb_serving};

use super::convert::{WorkState, failure, plain, work_state};
use crate::{
    command::{Image, Model, Source},
    ports::{BuildRecord, Live, Preview, Revision, RolloutRecord, Run, Version},
};

pub(super) fn image(image: common::ImageReference) -> Image {
    Image { name: image.name, repository: image.repository, digest: image.digest }
}

pub(super) fn model(model: common::Model) -> Model {
    Model { uri: model.uri, digest: model.digest, size: model.size_bytes }
}

fn source(source: common::SourceArchive) -> Source {
    Source { key: source.key, digest: source.digest, commit: source.commit }
}

/// `runs/r-1` -> `r-1`.
fn id(name: &str, collection: &str) -> String {
    name.strip_prefix(collection).and_then(|rest| rest.strip_prefix('/')).unwrap_or(name).to_owned()
}

fn text(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn succeeded(state: i32) -> bool {
    work_state(state) == WorkState::Succeeded
}

pub(super) fn version(version: pb_pipeline::PipelineVersion) -> Version {
    let files = version.source.unwrap_or_default();
    Version {
        ready: succeeded(version.state),
        repository: files.repository.clone(),
        source: source(files),
        images: version.images.into_iter().map(image).collect(),
        spec_digest: version.spec_digest,
    }
}

pub(super) fn run(run: pb_pipeline::Run) -> Run {
    Run {
        succeeded: succeeded(run.state),
        commit: run.commit,
        version: id(&run.pipeline_version, "pipelineVersions"),
        arguments: run.arguments.into_iter().map(|(name, value)| (name, plain(value))).collect(),
        metrics: run.metrics.into_iter().collect(),
        model: run.model.filter(|model| !model.uri.is_empty()).map(model),
    }
}

pub(super) fn live(service: pb_serving::InferenceService) -> Option<Live> {
    let revision = service.revisions.into_iter().find(|revision| revision.name == service.live_revision)?;
    Some(Live {
        revision: revision.name,
        model: revision.model.map(model).unwrap_or_default(),
        commit: revision.commit,
        run: id(&revision.run, "runs"),
        endpoint: service.endpoint,
        unanswered: revision.unanswered,
    })
}

pub(super) fn build(build: pb_build::Build) -> BuildRecord {
    let images = build.results.into_iter().filter_map(|result| result.image);
    BuildRecord {
        succeeded: succeeded(build.state),
        commit: build.source.unwrap_or_default().commit,
        images: images.filter(|image| !image.digest.is_empty()).map(image).collect(),
    }
}

pub(super) fn rollout(rollout: pb_serving::Rollout) -> RolloutRecord {
    let name = rollout.inference_service.rsplit('/').next().unwrap_or_default().to_owned();
    RolloutRecord {
        succeeded: succeeded(rollout.state),
        source: source(rollout.source.unwrap_or_default()),
        serving: kfops_project::Serving {
            name,
            template: rollout.template_path,
            sample: text(rollout.sample_path),
            golden: text(rollout.golden_path),
        },
        model: rollout.model.map(model).unwrap_or_default(),
        run: id(&rollout.run, "runs"),
        revision: rollout.revision,
        previous_revision: rollout.previous_revision,
    }
}

/// Newest first, whatever order they come in; those of the same second by their numbers.
pub(super) fn revisions(service: pb_serving::InferenceService) -> Vec<Revision> {
    let mut revisions = service.revisions;
    let age = |revision: &pb_serving::Revision| {
        let created = revision.create_time.as_ref().map(|time| (time.seconds, time.nanos));
        (created, revision.name.len(), revision.name.clone())
    };
    revisions.sort_by_key(|revision| std::cmp::Reverse(age(revision)));
    let revision = |revision: pb_serving::Revision| Revision {
        percent: u8::try_from(revision.percent.clamp(0, 100)).unwrap_or_default(),
        name: revision.name,
        state: revision.state,
        model: revision.model.map(model).unwrap_or_default(),
        run: id(&revision.run, "runs"),
        rollout: id(&revision.rollout, "rollouts"),
        commit: revision.commit,
        manifest: revision.manifest,
        unanswered: revision.unanswered,
    };
    revisions.into_iter().map(revision).collect()
}

/// What a build would do. One that has begun anything is a worker's that does not know previews.
pub(super) fn preview_of_build(build: pb_build::Build) -> Result<Preview, Failure> {
    if let Some(failure) = failure(build.failure, &build.name) {
        return Err(failure);
    }
    let named = |(at, result): (usize, &pb_build::ImageResult)| {
        let name = result.image.as_ref().map(|image| image.name.clone()).filter(|name| !name.is_empty());
        let name = name.or_else(|| build.images.get(at).map(|spec| spec.name.clone())).unwrap_or_default();
        (name, result.reused)
    };
    Ok(Preview::Build(build.results.iter().enumerate().map(named).collect()))
}

/// The manifest. That the model's files are not there (yet) is no reason not to show it.
pub(super) fn preview_of_rollout(rollout: pb_serving::Rollout) -> Result<Preview, Failure> {
    if !rollout.manifest.is_empty() {
        return Ok(Preview::Rollout(rollout.manifest));
    }
    let nameless = || Failure::new(Reason::Internal, "serving-deployer answered without a manifest");
    Err(failure(rollout.failure, &rollout.name).unwrap_or_else(nameless))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_first() {
        let revision = |name: &str, seconds: i64| pb_serving::Revision {
            name: name.into(),
            run: "runs/r-1".into(),
            rollout: "rollouts/d-1".into(),
            percent: 100,
            create_time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
            ..Default::default()
        };
        let service = pb_serving::InferenceService {
            live_revision: "iris-00010".into(),
            revisions: vec![revision("iris-00009", 5), revision("iris-00010", 5), revision("iris-00002", 1)],
            ..Default::default()
        };
        let live = live(service.clone()).unwrap();
        assert_eq!((live.revision.as_str(), live.run.as_str()), ("iris-00010", "r-1"));
        let sorted = revisions(service);
        let names: Vec<&str> = sorted.iter().map(|revision| revision.name.as_str()).collect();
        assert_eq!(names, ["iris-00010", "iris-00009", "iris-00002"]);
        assert_eq!((sorted[0].rollout.as_str(), sorted[0].percent), ("d-1", 100));
    }

    #[test]
    fn a_rollout_brings_back_how_its_model_was_served() {
        let record = rollout(pb_serving::Rollout {
            state: 3,
            inference_service: "namespaces/live/inferenceServices/iris".into(),
            template_path: "serving/t.yaml".into(),
            sample_path: "serving/sample.json".into(),
            run: "runs/r-1".into(),
            revision: "iris-00007".into(),
            ..Default::default()
        });
        assert!(record.succeeded);
        assert_eq!((record.serving.name.as_str(), record.run.as_str()), ("iris", "r-1"));
        assert_eq!(record.serving.sample.as_deref(), Some("serving/sample.json"));
        assert_eq!(record.serving.golden, None);
    }

    #[test]
    fn previews() {
        let result = |reused: bool| pb_build::ImageResult { reused, ..Default::default() };
        let spec = |name: &str| pb_build::ImageSpec { name: name.into(), ..Default::default() };
        let build = pb_build::Build {
            images: vec![spec("trainer"), spec("client")],
            results: vec![result(true), result(false)],
            ..Default::default()
        };
        let shown = preview_of_build(build).unwrap();
        assert_eq!(shown, Preview::Build(vec![("trainer".into(), true), ("client".into(), false)]));
        let gone = Some(common::Failure { message: "there is no model".into(), ..Default::default() });
        let rollout = pb_serving::Rollout { manifest: "kind: X".into(), failure: gone.clone(), ..Default::default() };
        assert_eq!(preview_of_rollout(rollout).unwrap(), Preview::Rollout("kind: X".into()));
        let rollout = pb_serving::Rollout { failure: gone, ..Default::default() };
        assert_eq!(preview_of_rollout(rollout).unwrap_err().message, "there is no model");
    }
}
