//! The three workers over gRPC.

mod convert;
mod records;

use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt as _, TryFutureExt as _, TryStreamExt as _, stream::BoxStream};
use kfops_core::{Failure, Reason, TraceContext};
use kfops_proto::{
    build::{self as pb_build, build_service_client::BuildServiceClient},
    pipeline::{
        self as pb_pipeline, pipeline_version_service_client::PipelineVersionServiceClient,
        run_service_client::RunServiceClient,
    },
    serving::{self as pb_serving, rollout_service_client::RolloutServiceClient},
};
use kfops_rpc::{Deadlines, failure_of, request, retry_idempotent};
use tonic::{Status, transport::Channel};

use crate::{
    ports::{BuildRecord, Live, Preview, Revision, RolloutRecord, Run, Snapshot, Version, Work, Workers},
    settings::WorkerSettings,
    step::Stage,
};

/// A preview digests a repository, or compiles a template in a sandbox.
const PREVIEW: Duration = Duration::from_secs(60);

/// One gRPC call that may be repeated.
macro_rules! call {
    ($client:expr, $method:ident, $message:expr, $trace:expr) => {
        call!($client, $method, $message, $trace, Deadlines::CALL)
    };
    ($client:expr, $method:ident, $message:expr, $trace:expr, $deadline:expr) => {{
        let message = $message;
        retry_idempotent(|| {
            let mut client = $client.clone();
            let request = request(message.clone(), $trace, $deadline);
            async move { client.$method(request).await }
        })
        .await
        .map(tonic::Response::into_inner)
    }};
}

/// The three workers over gRPC. Cheap to clone.
#[derive(Clone)]
pub struct GrpcWorkers {
    builds: BuildServiceClient<Channel>,
    versions: PipelineVersionServiceClient<Channel>,
    runs: RunServiceClient<Channel>,
    rollouts: RolloutServiceClient<Channel>,
}

impl GrpcWorkers {
    /// Connects when it is first used.
    pub fn new(settings: &WorkerSettings) -> Result<Self, Failure> {
        let connect = |key: &str, address: &str| {
            kfops_rpc::connect(address)
                .map_err(|error| Failure::new(Reason::InvalidArgument, error.to_string()).on(format!("workers.{key}")))
        };
        let pipelines = connect("pipeline_runner", &settings.pipeline_runner)?;
        Ok(Self {
            builds: BuildServiceClient::new(connect("image_builder", &settings.image_builder)?),
            versions: PipelineVersionServiceClient::new(pipelines.clone()),
            runs: RunServiceClient::new(pipelines),
            rollouts: RolloutServiceClient::new(connect("serving_deployer", &settings.serving_deployer)?),
        })
    }

    /// None before the first rollout.
    async fn service(&self, name: &str) -> Result<Option<pb_serving::InferenceService>, Failure> {
        let message = pb_serving::GetInferenceServiceRequest { name: name.to_owned() };
        match call!(self.rollouts, get_inference_service, message, None) {
            Ok(service) => Ok(Some(service)),
            Err(failure) if failure.reason == Reason::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

/// Snapshots of one resource, until its stream ends or is cut.
macro_rules! snapshots {
    ($client:expr, $method:ident, $message:expr, $convert:path) => {{
        let (mut client, message) = ($client.clone(), $message);
        let opened = async move { client.$method(request(message, None, Deadlines::WATCH)).await };
        opened
            .map_ok(|response| response.into_inner().map_ok($convert))
            .try_flatten_stream()
            .map_err(|status| cut(&status))
            .boxed()
    }};
}

/// A broken transport is no failure of the work: the driver asks and watches again.
fn cut(status: &Status) -> Failure {
    let failure = failure_of(status);
    if failure.reason == Reason::Internal && status.message().contains("h2") {
        return Failure { retryable: true, reason: Reason::WorkerUnavailable, ..failure };
    }
    failure
}

#[async_trait]
impl Workers for GrpcWorkers {
    async fn start(&self, id: &str, work: &Work, trace: &TraceContext, limit: Duration) -> Result<(), Failure> {
        let trace = Some(trace);
        match work {
            Work::Build { .. } => {
                let build = Some(convert::build(work));
                let message = pb_build::CreateBuildRequest { build, build_id: id.to_owned(), validate_only: false };
                call!(self.builds, create_build, message, trace).map(drop)
            }
            Work::Compile { .. } => {
                let message = pb_pipeline::CreatePipelineVersionRequest {
                    pipeline_version: Some(convert::version(work)),
                    pipeline_version_id: id.to_owned(),
                };
                call!(self.versions, create_pipeline_version, message, trace).map(drop)
            }
            Work::Run { .. } => {
                let run = Some(convert::run(work, limit));
                let message = pb_pipeline::CreateRunRequest { run, run_id: id.to_owned() };
                call!(self.runs, create_run, message, trace).map(drop)
            }
            Work::Rollout { .. } => {
                let rollout = Some(convert::rollout(work));
                let message =
                    pb_serving::CreateRolloutRequest { rollout, rollout_id: id.to_owned(), validate_only: false };
                call!(self.rollouts, create_rollout, message, trace).map(drop)
            }
        }
    }

    fn watch(&self, stage: Stage, id: &str) -> BoxStream<'static, Result<Snapshot, Failure>> {
        let name = format!("{}/{id}", stage.collection().unwrap_or_default());
        match stage {
            Stage::Build => {
                snapshots!(self.builds, watch_build, pb_build::WatchBuildRequest { name }, convert::of_build)
            }
            Stage::Compile => {
                let message = pb_pipeline::WatchPipelineVersionRequest { name };
                snapshots!(self.versions, watch_pipeline_version, message, convert::of_version)
            }
            Stage::Run => snapshots!(self.runs, watch_run, pb_pipeline::WatchRunRequest { name }, convert::of_run),
            _ => {
                let message = pb_serving::WatchRolloutRequest { name };
                snapshots!(self.rollouts, watch_rollout, message, convert::of_rollout)
            }
        }
    }

    async fn cancel(&self, stage: Stage, id: &str) -> Result<(), Failure> {
        let name = format!("{}/{id}", stage.collection().unwrap_or_default());
        match stage {
            Stage::Build => {
                call!(self.builds, cancel_build, pb_build::CancelBuildRequest { name: name.clone() }, None).map(drop)
            }
            Stage::Compile => {
                let message = pb_pipeline::CancelPipelineVersionRequest { name };
                call!(self.versions, cancel_pipeline_version, message, None).map(drop)
            }
            Stage::Run => {
                call!(self.runs, cancel_run, pb_pipeline::CancelRunRequest { name: name.clone() }, None).map(drop)
            }
            _ => call!(self.rollouts, cancel_rollout, pb_serving::CancelRolloutRequest { name: name.clone() }, None)
                .map(drop),
        }
    }

    async fn tag(&self, build: &str, tag: &str, trace: &TraceContext) -> Result<(), Failure> {
        let message = pb_build::TagBuildRequest { name: format!("builds/{build}"), tag: tag.to_owned() };
        call!(self.builds, tag_build, message, Some(trace)).map(drop)
    }

    async fn preview(&self, work: &Work) -> Result<Preview, Failure> {
        // Nothing is kept under this id; it is asked for because every Create has one.
        let id = "preview".to_owned();
        match work {
            Work::Build { .. } => {
                let build = Some(convert::build(work));
                let message = pb_build::CreateBuildRequest { build, build_id: id, validate_only: true };
                call!(self.builds, create_build, message, None, PREVIEW).and_then(records::preview_of_build)
            }
            Work::Rollout { .. } => {
                let rollout = Some(convert::rollout(work));
                let message = pb_serving::CreateRolloutRequest { rollout, rollout_id: id, validate_only: true };
                call!(self.rollouts, create_rollout, message, None, PREVIEW).and_then(records::preview_of_rollout)
            }
            Work::Compile { .. } | Work::Run { .. } => Err(Failure::internal("pipelines and runs have no previews")),
        }
    }

    async fn promote(&self, rollout: &str) -> Result<(), Failure> {
        let message = pb_serving::PromoteRolloutRequest { name: format!("rollouts/{rollout}") };
        call!(self.rollouts, promote_rollout, message, None).map(drop)
    }

    async fn build(&self, id: &str) -> Result<BuildRecord, Failure> {
        let message = pb_build::GetBuildRequest { name: format!("builds/{id}") };
        call!(self.builds, get_build, message, None).map(records::build)
    }

    async fn rollout(&self, id: &str) -> Result<RolloutRecord, Failure> {
        let message = pb_serving::GetRolloutRequest { name: format!("rollouts/{id}") };
        call!(self.rollouts, get_rollout, message, None).map(records::rollout)
    }

    async fn revisions(&self, inference_service: &str) -> Result<Vec<Revision>, Failure> {
        Ok(self.service(inference_service).await?.map(records::revisions).unwrap_or_default())
    }

    async fn version(&self, id: &str) -> Result<Version, Failure> {
        let message = pb_pipeline::GetPipelineVersionRequest { name: format!("pipelineVersions/{id}") };
        call!(self.versions, get_pipeline_version, message, None).map(records::version)
    }

    async fn run(&self, id: &str) -> Result<Run, Failure> {
        let message = pb_pipeline::GetRunRequest { name: format!("runs/{id}") };
        call!(self.runs, get_run, message, None).map(records::run)
    }

    async fn live(&self, inference_service: &str) -> Result<Option<Live>, Failure> {
        Ok(self.service(inference_service).await?.and_then(records::live))
    }
}
