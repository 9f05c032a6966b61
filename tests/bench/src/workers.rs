//! Workers that do nothing: they answer every `Create`, hold every `Watch` open, and end a build when they are told to.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, stream::BoxStream};
use kfops_proto::{
    build::{self, Build, ImageResult, build_service_server as build_server},
    common::ImageReference,
    pipeline::{self, PipelineVersion, pipeline_version_service_server as version_server},
};
use kfops_rpc::Lifecycle;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, service::Routes};

type Answer<T> = Result<Response<T>, Status>;
type Snapshots<T> = BoxStream<'static, Result<T, Status>>;
type Watcher = mpsc::UnboundedSender<Result<Build, Status>>;

/// image-builder and pipeline-runner on one address.
#[derive(Clone)]
pub struct Workers(Arc<Inner>);

struct Inner {
    builds: Mutex<HashMap<String, (Build, Option<Watcher>)>>,
    watched: watch::Sender<usize>,
    versions: mpsc::UnboundedSender<(String, Instant)>,
}

impl Workers {
    /// Serves as the real ones do; also says when it was asked for which pipeline version.
    pub async fn start(
        lifecycle: &Lifecycle,
    ) -> Result<(Self, SocketAddr, mpsc::UnboundedReceiver<(String, Instant)>)> {
        let (versions, asked) = mpsc::unbounded_channel();
        let workers = Self(Arc::new(Inner { builds: Mutex::default(), watched: watch::channel(0).0, versions }));
        let (listener, address) = kfops_rpc::bind("127.0.0.1:0").await?;
        let mut routes = Routes::builder();
        routes.add_service(build_server::BuildServiceServer::new(workers.clone()));
        routes.add_service(version_server::PipelineVersionServiceServer::new(workers.clone()));
        let lifecycle = lifecycle.clone();
        tokio::spawn(async move { kfops_rpc::serve(listener, routes.routes(), &[], &lifecycle).await });
        Ok((workers, address, asked))
    }

    fn builds(&self) -> MutexGuard<'_, HashMap<String, (Build, Option<Watcher>)>> {
        self.0.builds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many builds were watched since the last call of `forget`.
    #[must_use]
    pub fn watched(&self) -> watch::Receiver<usize> {
        self.0.watched.subscribe()
    }

    /// Nobody watches any more.
    pub fn forget(&self) {
        self.builds().values_mut().for_each(|(_, watcher)| *watcher = None);
        self.0.watched.send_replace(0);
    }

    /// The ids of all builds.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        self.builds().keys().filter_map(|name| Some(name.strip_prefix("builds/b-")?.to_owned())).collect()
    }

    /// The event: a build has ended well.
    pub fn succeed(&self, id: &str) -> Result<()> {
        let mut builds = self.builds();
        let (build, watcher) = builds.get_mut(&format!("builds/b-{id}")).context("there is no such build")?;
        build.state = build::State::Succeeded.into();
        for result in &mut build.results {
            result.state = build::State::Succeeded.into();
        }
        let watcher = watcher.as_ref().context("nobody watches it")?;
        Ok(watcher.send(Ok(build.clone()))?)
    }
}

#[tonic::async_trait]
impl build_server::BuildService for Workers {
    type WatchBuildStream = Snapshots<Build>;

    async fn create_build(&self, request: Request<build::CreateBuildRequest>) -> Answer<Build> {
        let request = request.into_inner();
        let name = format!("builds/{}", request.build_id);
        let mut made = request.build.unwrap_or_default();
        made.name.clone_from(&name);
        made.state = build::State::Running.into();
        made.results = made.images.iter().map(|image| result(&made.registry, &image.name)).collect();
        Ok(Response::new(self.builds().entry(name).or_insert((made, None)).0.clone()))
    }

    async fn watch_build(&self, request: Request<build::WatchBuildRequest>) -> Answer<Self::WatchBuildStream> {
        let (sender, receiver) = mpsc::unbounded_channel();
        {
            let mut builds = self.builds();
            let (build, watcher) =
                builds.get_mut(&request.get_ref().name).ok_or_else(|| Status::not_found("there is no such build"))?;
            sender.send(Ok(build.clone())).ok();
            *watcher = Some(sender);
        }
        self.0.watched.send_modify(|count| *count += 1);
        Ok(Response::new(UnboundedReceiverStream::new(receiver).boxed()))
    }

    async fn get_build(&self, _: Request<build::GetBuildRequest>) -> Answer<Build> {
        Err(Status::unimplemented("get"))
    }

    async fn list_builds(&self, _: Request<build::ListBuildsRequest>) -> Answer<build::ListBuildsResponse> {
        Err(Status::unimplemented("list"))
    }

    async fn cancel_build(&self, _: Request<build::CancelBuildRequest>) -> Answer<Build> {
        Err(Status::unimplemented("cancel"))
    }

    async fn tag_build(&self, _: Request<build::TagBuildRequest>) -> Answer<Build> {
        Err(Status::unimplemented("tag"))
    }
}

#[tonic::async_trait]
impl version_server::PipelineVersionService for Workers {
    type WatchPipelineVersionStream = Snapshots<PipelineVersion>;

    async fn create_pipeline_version(
        &self,
        request: Request<pipeline::CreatePipelineVersionRequest>,
    ) -> Answer<PipelineVersion> {
        let id = request.into_inner().pipeline_version_id;
        self.0.versions.send((id.trim_start_matches("v-").to_owned(), Instant::now())).ok();
        Ok(Response::new(version(&format!("pipelineVersions/{id}"))))
    }

    async fn watch_pipeline_version(
        &self,
        request: Request<pipeline::WatchPipelineVersionRequest>,
    ) -> Answer<Self::WatchPipelineVersionStream> {
        let first = futures::stream::iter([Ok(version(&request.get_ref().name))]);
        Ok(Response::new(first.chain(futures::stream::pending()).boxed()))
    }

    async fn get_pipeline_version(&self, _: Request<pipeline::GetPipelineVersionRequest>) -> Answer<PipelineVersion> {
        Err(Status::unimplemented("get"))
    }

    async fn list_pipeline_versions(
        &self,
        _: Request<pipeline::ListPipelineVersionsRequest>,
    ) -> Answer<pipeline::ListPipelineVersionsResponse> {
        Err(Status::unimplemented("list"))
    }

    async fn cancel_pipeline_version(
        &self,
        _: Request<pipeline::CancelPipelineVersionRequest>,
    ) -> Answer<PipelineVersion> {
        Err(Status::unimplemented("cancel"))
    }
}

fn version(name: &str) -> PipelineVersion {
    PipelineVersion { name: name.to_owned(), state: pipeline::State::Running.into(), ..Default::default() }
}

fn result(registry: &str, name: &str) -> ImageResult {
    let image = ImageReference {
        name: name.to_owned(),
        repository: format!("{registry}/{name}"),
        digest: format!("sha256:{:064x}", 7),
    };
    ImageResult { image: Some(image), state: build::State::Running.into(), ..Default::default() }
}
