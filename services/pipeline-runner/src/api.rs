//! Protobuf <-> domain. The only place that sees tonic and kfops-proto.

mod convert;

use std::sync::Arc;

use async_trait::async_trait;
use futures::{StreamExt as _, stream::BoxStream};
use kfops_core::{Failure, Reason, ResourceId};
use kfops_proto::pipeline::{
    self as pb,
    pipeline_version_service_server::{PipelineVersionService, PipelineVersionServiceServer},
    run_service_server::{RunService, RunServiceServer},
};
use kfops_resource::Record;
use kfops_rpc::{status_of, trace_context};
use tonic::{Request, Response, Status, service::Routes};

use crate::{engine::Engine, run::Run, version::PipelineVersion};

/// For the health service.
pub(crate) const NAMES: &[&str] = &["kfops.pipeline.v1.PipelineVersionService", "kfops.pipeline.v1.RunService"];

/// Both services.
pub(crate) fn routes(engine: Arc<Engine>) -> Routes {
    let api = Api(engine);
    Routes::new(PipelineVersionServiceServer::new(api.clone())).add_service(RunServiceServer::new(api))
}

#[derive(Clone)]
struct Api(Arc<Engine>);

fn status(failure: Failure) -> Status {
    status_of(&failure)
}

fn refuse<T>(field: &str, message: impl ToString) -> Result<T, Failure> {
    Err(Failure::new(Reason::InvalidArgument, message.to_string()).on(field))
}

/// The id in `<collection>/<id>`.
fn id_of<T: Record>(name: &str) -> Result<String, Failure> {
    let id = ResourceId::of_name(T::COLLECTION, name);
    id.map(|id| id.to_string()).or_else(|error| refuse("name", format!("{error}, as in {}/<id>", T::COLLECTION)))
}

#[async_trait]
impl PipelineVersionService for Api {
    type WatchPipelineVersionStream = BoxStream<'static, Result<pb::PipelineVersion, Status>>;

    async fn create_pipeline_version(
        &self,
        request: Request<pb::CreatePipelineVersionRequest>,
    ) -> Result<Response<pb::PipelineVersion>, Status> {
        let trace = trace_context(request.metadata());
        let version = convert::new_version(request.into_inner(), self.0.now(), trace).map_err(status)?;
        let version = self.0.create_version(version).await.map_err(status)?;
        Ok(Response::new(convert::version_to_proto(&version)))
    }

    async fn get_pipeline_version(
        &self,
        request: Request<pb::GetPipelineVersionRequest>,
    ) -> Result<Response<pb::PipelineVersion>, Status> {
        let id = id_of::<PipelineVersion>(&request.get_ref().name).map_err(status)?;
        let version = self.0.versions.get(&id).await.map_err(status)?;
        Ok(Response::new(convert::version_to_proto(&version)))
    }

    async fn list_pipeline_versions(
        &self,
        request: Request<pb::ListPipelineVersionsRequest>,
    ) -> Result<Response<pb::ListPipelineVersionsResponse>, Status> {
        let request = request.into_inner();
        let page = self.0.versions.list(request.page_size, &request.page_token).await.map_err(status)?;
        Ok(Response::new(pb::ListPipelineVersionsResponse {
            pipeline_versions: page.items.iter().map(convert::version_to_proto).collect(),
            next_page_token: page.next_page_token,
        }))
    }

    async fn watch_pipeline_version(
        &self,
        request: Request<pb::WatchPipelineVersionRequest>,
    ) -> Result<Response<Self::WatchPipelineVersionStream>, Status> {
        let id = id_of::<PipelineVersion>(&request.get_ref().name).map_err(status)?;
        let stream = self.0.versions.watch(&id).await.map_err(status)?;
        Ok(Response::new(stream.map(|version| Ok(convert::version_to_proto(&version))).boxed()))
    }

    async fn cancel_pipeline_version(
        &self,
        request: Request<pb::CancelPipelineVersionRequest>,
    ) -> Result<Response<pb::PipelineVersion>, Status> {
        let id = id_of::<PipelineVersion>(&request.get_ref().name).map_err(status)?;
        let version = self.0.cancel_version(&id).await.map_err(status)?;
        Ok(Response::new(convert::version_to_proto(&version)))
    }
}

#[async_trait]
impl RunService for Api {
    type WatchRunStream = BoxStream<'static, Result<pb::Run, Status>>;

    async fn create_run(&self, request: Request<pb::CreateRunRequest>) -> Result<Response<pb::Run>, Status> {
        let trace = trace_context(request.metadata());
        let run = convert::new_run(request.into_inner(), self.0.now(), trace).map_err(status)?;
        let run = self.0.create_run(run).await.map_err(status)?;
        Ok(Response::new(convert::run_to_proto(&run)))
    }

    async fn get_run(&self, request: Request<pb::GetRunRequest>) -> Result<Response<pb::Run>, Status> {
        let id = id_of::<Run>(&request.get_ref().name).map_err(status)?;
        let run = self.0.runs.get(&id).await.map_err(status)?;
        Ok(Response::new(convert::run_to_proto(&run)))
    }

    async fn list_runs(&self, request: Request<pb::ListRunsRequest>) -> Result<Response<pb::ListRunsResponse>, Status> {
        let request = request.into_inner();
        let page = self.0.runs.list(request.page_size, &request.page_token).await.map_err(status)?;
        Ok(Response::new(pb::ListRunsResponse {
            runs: page.items.iter().map(convert::run_to_proto).collect(),
            next_page_token: page.next_page_token,
        }))
    }

    async fn watch_run(&self, request: Request<pb::WatchRunRequest>) -> Result<Response<Self::WatchRunStream>, Status> {
        let id = id_of::<Run>(&request.get_ref().name).map_err(status)?;
        let stream = self.0.runs.watch(&id).await.map_err(status)?;
        Ok(Response::new(stream.map(|run| Ok(convert::run_to_proto(&run))).boxed()))
    }

    async fn cancel_run(&self, request: Request<pb::CancelRunRequest>) -> Result<Response<pb::Run>, Status> {
        let id = id_of::<Run>(&request.get_ref().name).map_err(status)?;
        let run = self.0.cancel_run(&id).await.map_err(status)?;
        Ok(Response::new(convert::run_to_proto(&run)))
    }
}
