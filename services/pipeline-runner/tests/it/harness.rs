//! A pipeline runner on a port of its own, with a store and repositories.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use kfops_core::{Digest, Failure, TraceContext};
use kfops_pipeline_runner::{Ports, Service, Settings};
use kfops_proto::{
    common::{ImageReference, SourceArchive},
    pipeline::{
        self as pb, pipeline_version_service_client::PipelineVersionServiceClient, run_service_client::RunServiceClient,
    },
};
use kfops_rpc::{Lifecycle, failure_of, request};
use kfops_store::Store;
use kfops_telemetry::Tracer;
use tempfile::TempDir;
use tonic::transport::Channel;

use crate::watch::{Watched, watch_until};

pub(crate) const COMMIT: &str = "3f2c1e7000000000000000000000000000000000";
/// For everything that should take seconds, on a machine that does much else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The Python with kfp.
pub(crate) fn python() -> PathBuf {
    let python = std::env::var_os("KFOPS_PYTHON").expect("KFOPS_PYTHON is not set: run `make test`, which sets it");
    let python = PathBuf::from(python);
    assert!(python.is_file(), "KFOPS_PYTHON={} is no file: run `make test`, which sets it", python.display());
    python
}

/// Settings over one folder.
pub(crate) fn settings(folder: &Path) -> Settings {
    Settings {
        listen: "127.0.0.1:0".into(),
        state: folder.join("state"),
        store: format!("file://{}", folder.join("store").display()).into(),
        python: python(),
        ..Settings::default()
    }
}

/// A running service and its clients.
pub(crate) struct Runner {
    pub(crate) folder: TempDir,
    pub(crate) store: Store,
    pub(crate) clients: Clients,
    lifecycle: Lifecycle,
}

/// Clients of a pipeline runner.
#[derive(Clone)]
pub(crate) struct Clients {
    pub(crate) versions: PipelineVersionServiceClient<Channel>,
    pub(crate) runs: RunServiceClient<Channel>,
}

impl Clients {
    pub(crate) fn new(address: &str) -> Self {
        let channel = kfops_rpc::connect(&format!("http://{address}")).unwrap();
        Self { versions: PipelineVersionServiceClient::new(channel.clone()), runs: RunServiceClient::new(channel) }
    }

    pub(crate) async fn create_version(
        &mut self,
        id: &str,
        version: pb::PipelineVersion,
        trace: Option<&TraceContext>,
    ) -> Result<pb::PipelineVersion, Failure> {
        let message =
            pb::CreatePipelineVersionRequest { pipeline_version_id: id.into(), pipeline_version: Some(version) };
        let answer = self.versions.create_pipeline_version(request(message, trace, PATIENCE)).await;
        answer.map(tonic::Response::into_inner).map_err(|status| failure_of(&status))
    }

    /// Waits for the end.
    pub(crate) async fn version(&mut self, id: &str) -> pb::PipelineVersion {
        let (mut last, client) = (None, self.versions.clone());
        let open = || {
            let (mut client, name) = (client.clone(), format!("pipelineVersions/{id}"));
            async move { client.watch_pipeline_version(pb::WatchPipelineVersionRequest { name }).await }
        };
        let watch = watch_until(open, async |version: pb::PipelineVersion| {
            let done = version.end_time.is_some();
            last = Some(version);
            Ok(if done { Watched::Done } else { Watched::Continue })
        });
        tokio::time::timeout(PATIENCE, watch).await.expect("it ends in time").unwrap();
        last.unwrap()
    }

    pub(crate) async fn create_run(
        &mut self,
        id: &str,
        run: pb::Run,
        trace: Option<&TraceContext>,
    ) -> Result<pb::Run, Failure> {
        let message = pb::CreateRunRequest { run_id: id.into(), run: Some(run) };
        let answer = self.runs.create_run(request(message, trace, PATIENCE)).await;
        answer.map(tonic::Response::into_inner).map_err(|status| failure_of(&status))
    }

    /// Waits until `enough` holds.
    pub(crate) async fn run_until(&mut self, id: &str, enough: impl Fn(&pb::Run) -> bool) -> pb::Run {
        let (mut last, client) = (None, self.runs.clone());
        let open = || {
            let (mut client, name) = (client.clone(), format!("runs/{id}"));
            async move { client.watch_run(pb::WatchRunRequest { name }).await }
        };
        let watch = watch_until(open, async |run: pb::Run| {
            let done = enough(&run);
            last = Some(run);
            Ok(if done { Watched::Done } else { Watched::Continue })
        });
        tokio::time::timeout(PATIENCE, watch).await.expect("it gets there in time").unwrap();
        last.unwrap()
    }

    /// Waits for the end.
    pub(crate) async fn run(&mut self, id: &str) -> pb::Run {
        self.run_until(id, |run| run.end_time.is_some()).await
    }
}

impl Runner {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}, Tracer::disabled()).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Settings), tracer: Tracer) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = settings(folder.path());
        change(&mut settings);
        let ports = Ports::of(&settings, tracer).await.unwrap();
        Self::over(settings, ports, folder).await
    }

    pub(crate) async fn over(settings: Settings, ports: Ports, folder: TempDir) -> Self {
        let store = Store::open(&settings.store).unwrap();
        let service = Service::build(settings, ports).await.unwrap();
        let (listener, address) = kfops_rpc::bind("127.0.0.1:0").await.unwrap();
        let lifecycle = Lifecycle::new();
        let serving = lifecycle.clone();
        tokio::spawn(async move { service.serve(listener, serving).await.unwrap() });
        Self { folder, store, clients: Clients::new(&address.to_string()), lifecycle }
    }

    /// A version of the repository's `path`, to be changed before it is created.
    pub(crate) async fn request(&self, path: &str, files: &[(&str, &str)]) -> pb::PipelineVersion {
        version_request(&self.store, path, files).await
    }

    /// Compiles and waits for the end.
    pub(crate) async fn compile(&mut self, path: &str, files: &[(&str, &str)]) -> pb::PipelineVersion {
        let version = self.request(path, files).await;
        self.clients.create_version("v-1", version, None).await.unwrap();
        self.clients.version("v-1").await
    }

    /// Compiles a pipeline that must compile, and runs it.
    pub(crate) async fn run(&mut self, pipeline: &str, run: pb::Run) -> pb::Run {
        let version = self.compile("p.py", &[("p.py", pipeline)]).await;
        assert_eq!(version.state(), pb::State::Succeeded, "{:?}", version.failure);
        let run = pb::Run { pipeline_version: version.name, ..run };
        self.clients.create_run("r-1", run, None).await.unwrap();
        self.clients.run("r-1").await
    }

    pub(crate) async fn text(&self, key: &str) -> String {
        String::from_utf8_lossy(&self.store.get(key).await.unwrap()).into_owned()
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.lifecycle.stop();
    }
}

pub(crate) async fn version_request(store: &Store, path: &str, files: &[(&str, &str)]) -> pb::PipelineVersion {
    let archive = archive(files);
    let key = format!("sources/o/r/{}.tar.gz", Digest::of(&archive).hex());
    let digest = Digest::of(&archive).to_string();
    store.put(&key, archive).await.unwrap();
    pb::PipelineVersion {
        source: Some(SourceArchive { key, digest, commit: COMMIT.into(), repository: "o/r".into() }),
        pipeline: "tiny".into(),
        path: path.into(),
        images: vec![image("trainer"), image("evaluator")],
        ..Default::default()
    }
}

pub(crate) fn image(name: &str) -> ImageReference {
    ImageReference {
        name: name.into(),
        repository: format!("localhost:5000/iris/{name}"),
        digest: Digest::of(name.as_bytes()).to_string(),
    }
}

pub(crate) fn pinned(name: &str) -> String {
    let image = image(name);
    format!("{}@{}", image.repository, image.digest)
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, format!("o-r-3f2c1e7/{path}"), text.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

/// A component that waits on a connection to `port` until it is told to go on, or for ever.
pub(crate) fn waiting_pipeline(port: u16) -> String {
    format!(
        r#"
from kfp import dsl
from kfp.dsl import Output, Model

@dsl.component(base_image="trainer", install_kfp_package=False)
def wait(model: Output[Model]):
    import os, socket
    with socket.create_connection(("127.0.0.1", {port})) as connection:
        if not connection.recv(1):
            raise SystemExit("cut off")
    os.makedirs(model.path)
    with open(model.path + "/model.txt", "w") as file:
        file.write("trained")

@dsl.pipeline(name="waiting")
def waiting():
    wait()
"#
    )
}
