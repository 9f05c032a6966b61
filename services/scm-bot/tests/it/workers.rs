//! The three workers as scripts: what is asked of them is remembered, what they answer is set beforehand.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use futures::{Stream, StreamExt as _};
use kfops_core::{Failure, Reason};
use kfops_proto::{build as pb_build, common, pipeline as pb_pipeline, serving as pb_serving};
use kfops_rpc::status_of;
use tonic::{Request, Response, Status, service::Routes};

type Answer<T> = Result<Response<T>, Status>;
type Snapshots<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[derive(Default)]
pub(crate) struct Data {
    builds: BTreeMap<String, pb_build::Build>,
    versions: BTreeMap<String, pb_pipeline::PipelineVersion>,
    runs: BTreeMap<String, pb_pipeline::Run>,
    rollouts: BTreeMap<String, pb_serving::Rollout>,
    /// What was begun, once per resource: `builds/b-…`.
    pub(crate) begun: Vec<String>,
    /// Requests as they came, by resource.
    pub(crate) runs_asked: Vec<pb_pipeline::Run>,
    pub(crate) rollouts_asked: Vec<pb_serving::Rollout>,
    pub(crate) builds_asked: Vec<pb_build::Build>,
    /// traceparent of each Create.
    pub(crate) traces: BTreeMap<String, String>,
    pub(crate) canceled: BTreeSet<String>,
    pub(crate) promoted: BTreeSet<String>,
    pub(crate) live: BTreeMap<String, String>,
}

#[derive(Clone, Default)]
pub(crate) struct Workers(Arc<Mutex<Data>>);

impl Workers {
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Data) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    pub(crate) fn routes(&self) -> Routes {
        let mut routes = Routes::builder();
        routes.add_service(pb_build::build_service_server::BuildServiceServer::new(self.clone()));
        routes
            .add_service(pb_pipeline::pipeline_version_service_server::PipelineVersionServiceServer::new(self.clone()));
        routes.add_service(pb_pipeline::run_service_server::RunServiceServer::new(self.clone()));
        routes.add_service(pb_serving::rollout_service_server::RolloutServiceServer::new(self.clone()));
        routes.routes()
    }

    /// Keeps a new resource, once.
    async fn create<T: Clone>(
        &self,
        name: String,
        trace: Option<String>,
        table: impl Fn(&mut Data) -> &mut BTreeMap<String, T>,
        new: T,
    ) -> T {
        self.with(|data| {
            if !table(data).contains_key(&name) {
                data.begun.push(name.clone());
            }
            data.traces.entry(name.clone()).or_insert(trace.unwrap_or_default());
            table(data).entry(name).or_insert(new).clone()
        })
    }

    fn find<T: Clone>(&self, name: &str, table: impl Fn(&mut Data) -> &mut BTreeMap<String, T>) -> Result<T, Status> {
        self.with(|data| table(data).get(name).cloned())
            .ok_or_else(|| status_of(&Failure::new(Reason::NotFound, format!("no {name}"))))
    }

    /// Whole snapshots: running, and then how it ends.
    fn snapshots<T: Clone + Send + 'static>(
        &self,
        name: String,
        table: fn(&mut Data) -> &mut BTreeMap<String, T>,
        end: fn(&mut T, i32, Option<common::Failure>),
    ) -> Answer<Snapshots<T>> {
        self.find(&name, table)?;
        let this = self.clone();
        let states = futures::stream::iter([2, 3]).map(move |state| {
            Ok(this.with(|data| {
                let shown = table(data).get_mut(&name).unwrap();
                end(shown, state, None);
                shown.clone()
            }))
        });
        Ok(Response::new(states.boxed()))
    }
}

fn trace<T>(request: &Request<T>) -> Option<String> {
    Some(request.metadata().get("traceparent")?.to_str().ok()?.to_owned())
}

fn now() -> Option<prost_types::Timestamp> {
    Some(SystemTime::now().into())
}

fn end_build(build: &mut pb_build::Build, state: i32, failure: Option<common::Failure>) {
    build.state = state;
    build.failure = failure;
    build.results = build
        .images
        .iter()
        .map(|spec| pb_build::ImageResult {
            image: Some(common::ImageReference {
                name: spec.name.clone(),
                repository: format!("{}/{}", build.registry, spec.name),
                digest: if state == 3 { format!("sha256:{}", "1".repeat(64)) } else { String::new() },
            }),
            state,
            reused: spec.name == "client",
            start_time: now(),
            end_time: if state > 2 { now() } else { None },
            log_key: format!("logs/builds/x/{}.log", spec.name),
            ..Default::default()
        })
        .collect();
}

fn end_version(version: &mut pb_pipeline::PipelineVersion, state: i32, failure: Option<common::Failure>) {
    version.state = state;
    version.failure = failure;
    version.spec_digest = format!("sha256:{}", "2".repeat(64));
}

fn end_run(run: &mut pb_pipeline::Run, state: i32, failure: Option<common::Failure>) {
    run.state = state;
    run.failure = failure;
    run.tasks = vec![pb_pipeline::Task { name: "train".into(), state, start_time: now(), ..Default::default() }];
    if state == 3 {
        run.metrics = [("accuracy".to_owned(), 0.967)].into();
        run.model = Some(common::Model {
            uri: "file:///models/r".into(),
            digest: format!("sha256:{}", "3".repeat(64)),
            size_bytes: 10,
        });
    }
}

fn end_rollout(rollout: &mut pb_serving::Rollout, state: i32, failure: Option<common::Failure>) {
    rollout.state = state;
    rollout.failure = failure;
    rollout.revision = "iris-00008".into();
    rollout.previous_revision = "iris-00007".into();
    rollout.endpoint = "http://127.0.0.1:8081/serving/iris/iris/v1/models/iris:predict".into();
    rollout.steps = ["revision", "canary 10 %"]
        .map(|title| pb_serving::RolloutStep { title: title.into(), state, start_time: now(), ..Default::default() })
        .into();
}

#[tonic::async_trait]
impl pb_build::build_service_server::BuildService for Workers {
    type WatchBuildStream = Snapshots<pb_build::Build>;

    async fn create_build(&self, request: Request<pb_build::CreateBuildRequest>) -> Answer<pb_build::Build> {
        let trace = trace(&request);
        let request = request.into_inner();
        let name = format!("builds/{}", request.build_id);
        let build = pb_build::Build { name: name.clone(), state: 1, ..request.build.unwrap() };
        self.with(|data| data.builds_asked.push(build.clone()));
        Ok(Response::new(self.create(name, trace, |data| &mut data.builds, build).await))
    }
    async fn get_build(&self, request: Request<pb_build::GetBuildRequest>) -> Answer<pb_build::Build> {
        self.find(&request.get_ref().name, |data| &mut data.builds).map(Response::new)
    }
    async fn list_builds(&self, _: Request<pb_build::ListBuildsRequest>) -> Answer<pb_build::ListBuildsResponse> {
        Err(Status::unimplemented("list"))
    }
    async fn watch_build(&self, request: Request<pb_build::WatchBuildRequest>) -> Answer<Self::WatchBuildStream> {
        self.snapshots(request.into_inner().name, |data| &mut data.builds, end_build)
    }
    async fn cancel_build(&self, request: Request<pb_build::CancelBuildRequest>) -> Answer<pb_build::Build> {
        let name = request.into_inner().name;
        self.with(|data| data.canceled.insert(name.clone()));
        self.find(&name, |data| &mut data.builds).map(Response::new)
    }
    async fn tag_build(&self, request: Request<pb_build::TagBuildRequest>) -> Answer<pb_build::Build> {
        let request = request.into_inner();
        self.with(|data| {
            let build = data.builds.get_mut(&request.name).unwrap();
            if !build.tags.contains(&request.tag) {
                build.tags.push(request.tag);
            }
        });
        self.find(&request.name, |data| &mut data.builds).map(Response::new)
    }
}

#[tonic::async_trait]
impl pb_pipeline::pipeline_version_service_server::PipelineVersionService for Workers {
    type WatchPipelineVersionStream = Snapshots<pb_pipeline::PipelineVersion>;

    async fn create_pipeline_version(
        &self,
        request: Request<pb_pipeline::CreatePipelineVersionRequest>,
    ) -> Answer<pb_pipeline::PipelineVersion> {
        let trace = trace(&request);
        let request = request.into_inner();
        let name = format!("pipelineVersions/{}", request.pipeline_version_id);
        let version =
            pb_pipeline::PipelineVersion { name: name.clone(), state: 1, ..request.pipeline_version.unwrap() };
        Ok(Response::new(self.create(name, trace, |data| &mut data.versions, version).await))
    }
    async fn get_pipeline_version(
        &self,
        request: Request<pb_pipeline::GetPipelineVersionRequest>,
    ) -> Answer<pb_pipeline::PipelineVersion> {
        self.find(&request.get_ref().name, |data| &mut data.versions).map(Response::new)
    }
    async fn list_pipeline_versions(
        &self,
        _: Request<pb_pipeline::ListPipelineVersionsRequest>,
    ) -> Answer<pb_pipeline::ListPipelineVersionsResponse> {
        Err(Status::unimplemented("list"))
    }
    async fn watch_pipeline_version(
        &self,
        request: Request<pb_pipeline::WatchPipelineVersionRequest>,
    ) -> Answer<Self::WatchPipelineVersionStream> {
        self.snapshots(request.into_inner().name, |data| &mut data.versions, end_version)
    }
    async fn cancel_pipeline_version(
        &self,
        request: Request<pb_pipeline::CancelPipelineVersionRequest>,
    ) -> Answer<pb_pipeline::PipelineVersion> {
        let name = request.into_inner().name;
        self.with(|data| data.canceled.insert(name.clone()));
        self.find(&name, |data| &mut data.versions).map(Response::new)
    }
}

#[tonic::async_trait]
impl pb_pipeline::run_service_server::RunService for Workers {
    type WatchRunStream = Snapshots<pb_pipeline::Run>;

    async fn create_run(&self, request: Request<pb_pipeline::CreateRunRequest>) -> Answer<pb_pipeline::Run> {
        let trace = trace(&request);
        let request = request.into_inner();
        let name = format!("runs/{}", request.run_id);
        let mut run = pb_pipeline::Run { name: name.clone(), state: 1, ..request.run.unwrap() };
        self.with(|data| data.runs_asked.push(run.clone()));
        let version = self.find(&run.pipeline_version, |data| &mut data.versions)?;
        run.commit = version.source.unwrap().commit;
        Ok(Response::new(self.create(name, trace, |data| &mut data.runs, run).await))
    }
    async fn get_run(&self, request: Request<pb_pipeline::GetRunRequest>) -> Answer<pb_pipeline::Run> {
        self.find(&request.get_ref().name, |data| &mut data.runs).map(Response::new)
    }
    async fn list_runs(&self, _: Request<pb_pipeline::ListRunsRequest>) -> Answer<pb_pipeline::ListRunsResponse> {
        Err(Status::unimplemented("list"))
    }
    async fn watch_run(&self, request: Request<pb_pipeline::WatchRunRequest>) -> Answer<Self::WatchRunStream> {
        self.snapshots(request.into_inner().name, |data| &mut data.runs, end_run)
    }
    async fn cancel_run(&self, request: Request<pb_pipeline::CancelRunRequest>) -> Answer<pb_pipeline::Run> {
        let name = request.into_inner().name;
        self.with(|data| data.canceled.insert(name.clone()));
        self.find(&name, |data| &mut data.runs).map(Response::new)
    }
}

#[tonic::async_trait]
impl pb_serving::rollout_service_server::RolloutService for Workers {
    type WatchRolloutStream = Snapshots<pb_serving::Rollout>;

    async fn create_rollout(&self, request: Request<pb_serving::CreateRolloutRequest>) -> Answer<pb_serving::Rollout> {
        let trace = trace(&request);
        let request = request.into_inner();
        let name = format!("rollouts/{}", request.rollout_id);
        let rollout = pb_serving::Rollout { name: name.clone(), state: 1, ..request.rollout.unwrap() };
        self.with(|data| data.rollouts_asked.push(rollout.clone()));
        Ok(Response::new(self.create(name, trace, |data| &mut data.rollouts, rollout).await))
    }
    async fn get_rollout(&self, request: Request<pb_serving::GetRolloutRequest>) -> Answer<pb_serving::Rollout> {
        self.find(&request.get_ref().name, |data| &mut data.rollouts).map(Response::new)
    }
    async fn list_rollouts(
        &self,
        _: Request<pb_serving::ListRolloutsRequest>,
    ) -> Answer<pb_serving::ListRolloutsResponse> {
        Err(Status::unimplemented("list"))
    }
    async fn watch_rollout(
        &self,
        request: Request<pb_serving::WatchRolloutRequest>,
    ) -> Answer<Self::WatchRolloutStream> {
        self.snapshots(request.into_inner().name, |data| &mut data.rollouts, end_rollout)
    }
    async fn cancel_rollout(&self, request: Request<pb_serving::CancelRolloutRequest>) -> Answer<pb_serving::Rollout> {
        let name = request.into_inner().name;
        self.with(|data| data.canceled.insert(name.clone()));
        self.find(&name, |data| &mut data.rollouts).map(Response::new)
    }
    async fn promote_rollout(
        &self,
        request: Request<pb_serving::PromoteRolloutRequest>,
    ) -> Answer<pb_serving::Rollout> {
        let name = request.into_inner().name;
        self.with(|data| data.promoted.insert(name.clone()));
        self.find(&name, |data| &mut data.rollouts).map(Response::new)
    }
    async fn get_inference_service(
        &self,
        request: Request<pb_serving::GetInferenceServiceRequest>,
    ) -> Answer<pb_serving::InferenceService> {
        let name = request.into_inner().name;
        let revision = self.find(&name, |data| &mut data.live)?;
        Ok(Response::new(pb_serving::InferenceService {
            name,
            live_revision: revision.clone(),
            revisions: vec![pb_serving::Revision { name: revision, state: "ready".into(), ..Default::default() }],
            ..Default::default()
        }))
    }
    async fn list_inference_services(
        &self,
        _: Request<pb_serving::ListInferenceServicesRequest>,
    ) -> Answer<pb_serving::ListInferenceServicesResponse> {
        Err(Status::unimplemented("list"))
    }
}
