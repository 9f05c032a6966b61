//! `kfops.build.v1.BuildService` over the engine. The only file that sees the wire.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _};
use kfops_core::{Digest, Failure, Reason, ResourceId};
use kfops_proto::{
    build::{self as wire, build_service_server},
    common,
};
use kfops_resource::Record as _;
use kfops_rpc::{failure_to_proto, status_of, time_to_proto, trace_context};
use tonic::{Request, Response, Status};

use crate::{
    build::{Build, ImageResult, State},
    engine::Engine,
    request::{ImageSpec, Request as BuildRequest},
};

/// The full name, for health.
pub(crate) const SERVICE_NAME: &str = "kfops.build.v1.BuildService";

/// Serves the engine.
pub(crate) struct Api {
    pub(crate) engine: Arc<Engine>,
}

#[tonic::async_trait]
impl build_service_server::BuildService for Api {
    async fn create_build(&self, request: Request<wire::CreateBuildRequest>) -> Result<Response<wire::Build>, Status> {
        let trace = trace_context(request.metadata());
        let message = request.into_inner();
        let id = ResourceId::parse(&message.build_id).map_err(|error| invalid("build_id", error.to_string()))?;
        let request = request_from_proto(message.build.ok_or_else(|| invalid("build", "is missing".into()))?)?;
        let uid = uuid::Uuid::new_v4().to_string();
        let build = Build::new(id.to_string(), uid, self.engine.ports.clock.now(), request, trace);
        if message.validate_only {
            return answer(self.engine.preview(build).await);
        }
        answer(self.engine.create(build).await)
    }

    async fn get_build(&self, request: Request<wire::GetBuildRequest>) -> Result<Response<wire::Build>, Status> {
        answer(self.engine.builds.get(&id(&request.into_inner().name)?).await)
    }

    async fn list_builds(
        &self,
        request: Request<wire::ListBuildsRequest>,
    ) -> Result<Response<wire::ListBuildsResponse>, Status> {
        let request = request.into_inner();
        let page = self.engine.builds.list(request.page_size, &request.page_token).await.map_err(|f| status_of(&f))?;
        let builds = page.items.iter().map(build_to_proto).collect();
        Ok(Response::new(wire::ListBuildsResponse { builds, next_page_token: page.next_page_token }))
    }

    type WatchBuildStream = Pin<Box<dyn Stream<Item = Result<wire::Build, Status>> + Send>>;

    async fn watch_build(
        &self,
        request: Request<wire::WatchBuildRequest>,
    ) -> Result<Response<Self::WatchBuildStream>, Status> {
        let id = id(&request.into_inner().name)?;
        let builds = self.engine.builds.watch(&id).await.map_err(|failure| status_of(&failure))?;
        Ok(Response::new(Box::pin(builds.map(|build| Ok(build_to_proto(&build))))))
    }

    async fn cancel_build(&self, request: Request<wire::CancelBuildRequest>) -> Result<Response<wire::Build>, Status> {
        answer(self.engine.cancel(&id(&request.into_inner().name)?).await)
    }

    async fn tag_build(&self, request: Request<wire::TagBuildRequest>) -> Result<Response<wire::Build>, Status> {
        let request = request.into_inner();
        answer(self.engine.tag(&id(&request.name)?, &request.tag).await)
    }
}

fn answer(outcome: Result<Build, Failure>) -> Result<Response<wire::Build>, Status> {
    outcome.map(|build| Response::new(build_to_proto(&build))).map_err(|failure| status_of(&failure))
}

fn id(name: &str) -> Result<String, Status> {
    ResourceId::of_name(Build::COLLECTION, name)
        .map(|id| id.to_string())
        .map_err(|_| invalid("name", "a name has the form builds/{build}".into()))
}

fn invalid(field: &str, message: String) -> Status {
    status_of(&Failure::new(Reason::InvalidArgument, message).on(field))
}

fn request_from_proto(build: wire::Build) -> Result<BuildRequest, Status> {
    let source = build.source.ok_or_else(|| invalid("build.source", "is missing".into()))?;
    let source_digest =
        Digest::parse(&source.digest).map_err(|error| invalid("build.source.digest", error.to_string()))?;
    let images = build.images.into_iter().map(|image| ImageSpec {
        name: image.name,
        context: image.context,
        dockerfile: if image.dockerfile.is_empty() { "Dockerfile".into() } else { image.dockerfile },
        include: image.include,
        build_args: image.build_args.into_iter().collect(),
    });
    Ok(BuildRequest {
        source_key: source.key,
        source_digest,
        commit: source.commit,
        repository: source.repository,
        registry: build.registry,
        insecure: build.insecure,
        images: images.collect(),
    })
}

fn build_to_proto(build: &Build) -> wire::Build {
    let request = &build.request;
    wire::Build {
        name: build.name(),
        uid: build.uid.clone(),
        state: state_to_proto(build.state).into(),
        create_time: Some(time_to_proto(build.create_time)),
        update_time: Some(time_to_proto(build.update_time)),
        end_time: build.end_time.map(time_to_proto),
        failure: build.failure.as_ref().map(failure_to_proto),
        source: Some(common::SourceArchive {
            key: request.source_key.clone(),
            digest: request.source_digest.to_string(),
            commit: request.commit.clone(),
            repository: request.repository.clone(),
        }),
        registry: request.registry.clone(),
        insecure: request.insecure,
        images: request.images.iter().map(image_to_proto).collect(),
        results: build.results.iter().map(result_to_proto).collect(),
        tags: build.tags.clone(),
    }
}

fn image_to_proto(image: &ImageSpec) -> wire::ImageSpec {
    wire::ImageSpec {
        name: image.name.clone(),
        context: image.context.clone(),
        dockerfile: image.dockerfile.clone(),
        include: image.include.clone(),
        build_args: image.build_args.clone().into_iter().collect(),
    }
}

fn result_to_proto(result: &ImageResult) -> wire::ImageResult {
    let digest = |digest: &Option<Digest>| digest.as_ref().map(ToString::to_string).unwrap_or_default();
    wire::ImageResult {
        image: Some(common::ImageReference {
            name: result.name.clone(),
            repository: result.repository.clone(),
            digest: digest(&result.digest),
        }),
        state: state_to_proto(result.state).into(),
        content_digest: digest(&result.content),
        reused: result.reused,
        start_time: result.start_time.map(time_to_proto),
        end_time: result.end_time.map(time_to_proto),
        log_key: result.log_key.clone(),
        failure: result.failure.as_ref().map(failure_to_proto),
    }
}

const fn state_to_proto(state: State) -> wire::State {
    match state {
        State::Pending => wire::State::Pending,
        State::Running => wire::State::Running,
        State::Succeeded => wire::State::Succeeded,
        State::Failed => wire::State::Failed,
        State::Canceled => wire::State::Canceled,
    }
}
