//! A service with a registry and a store of its own, and a client.

use std::{path::Path, sync::Mutex, time::Duration};

use flate2::{Compression, write::GzEncoder};
use kfops_core::{Digest, TraceContext};
use kfops_image_builder::{LocalSettings, Ports, Service, Settings, StandIn, registry};
use kfops_proto::{
    build::{
        Build, CancelBuildRequest, CreateBuildRequest, GetBuildRequest, ImageResult, ImageSpec, State,
        WatchBuildRequest, build_service_client::BuildServiceClient,
    },
    common::SourceArchive,
};
use kfops_rpc::Lifecycle;
use kfops_store::Store;
use kfops_telemetry::Tracer;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// Everything that survives the service.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) registry: registry::Handle,
    pub(crate) settings: Settings,
    stop_registry: CancellationToken,
}

/// A running service, on threads of its own so that it can be killed.
pub(crate) struct Running {
    pub(crate) client: BuildServiceClient<Channel>,
    pub(crate) tracer: Tracer,
    pub(crate) lifecycle: Lifecycle,
    runtime: Mutex<Option<tokio::runtime::Runtime>>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let settings = Settings {
            state: path("state"),
            store: format!("file://{}", path("store").display()).into(),
            embedded_registry: kfops_image_builder::EmbeddedRegistrySettings {
                listen: "127.0.0.1:0".into(),
                folder: path("registry"),
                ..Default::default()
            },
            local: LocalSettings { stand_in: StandIn::Always, ..LocalSettings::default() },
            shutdown_patience: kfops_settings::HumanDuration::from_secs(1),
            ..Settings::default()
        };
        let stop_registry = CancellationToken::new();
        let registry = registry::Registry::start(&settings.embedded_registry, stop_registry.clone()).await.unwrap();
        let store = Store::open(&settings.store).unwrap();
        Self { folder, store, registry, settings, stop_registry }
    }

    pub(crate) async fn start(&self) -> Running {
        let (settings, registry, lifecycle) = (self.settings.clone(), self.registry.clone(), Lifecycle::new());
        let tracer = Tracer::disabled();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (life, spans) = (lifecycle.clone(), tracer.clone());
        let address = runtime
            .spawn(async move {
                let ports = Ports::local(&settings, spans, Some(registry)).unwrap();
                let (listener, address) = kfops_rpc::bind("127.0.0.1:0").await.unwrap();
                let service = Service::build(settings, ports).await.unwrap();
                tokio::spawn(service.serve(listener, life));
                address
            })
            .await
            .unwrap();
        let client = BuildServiceClient::new(kfops_rpc::connect(&format!("http://{address}")).unwrap());
        Running { client, tracer, lifecycle, runtime: Mutex::new(Some(runtime)) }
    }

    /// Puts an archive of these files into the store; a name that ends with `!` is executable.
    pub(crate) async fn source(&self, files: &[(&str, &str)]) -> SourceArchive {
        source(&self.store, files).await
    }

    /// The program that builds on this machine keeps no containers after builds.
    pub(crate) fn containers(&self) -> String {
        let folder = self.settings.local.cache_folder().join("containers/overlay");
        let output = std::process::Command::new("buildah")
            .arg("--root")
            .arg(folder.join("root"))
            .arg("--runroot")
            .arg(folder.join("run"))
            .args(["--storage-driver", "overlay", "containers", "--noheading", "--quiet"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) async fn log(&self, result: &ImageResult) -> String {
        String::from_utf8(self.store.get(&result.log_key).await.unwrap().to_vec()).unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop_registry.cancel();
    }
}

impl Running {
    /// A service that runs elsewhere.
    pub(crate) fn at(address: &str) -> Self {
        let client = BuildServiceClient::new(kfops_rpc::connect(&format!("http://{address}")).unwrap());
        Self { client, tracer: Tracer::disabled(), lifecycle: Lifecycle::new(), runtime: Mutex::new(None) }
    }

    pub(crate) async fn create(&self, id: &str, source: &SourceArchive, images: Vec<ImageSpec>) -> Build {
        let build = Build { source: Some(source.clone()), images, ..Build::default() };
        let message = CreateBuildRequest { build: Some(build), build_id: id.into(), ..Default::default() };
        let trace = TraceContext::from_random([7; 24]);
        let request = kfops_rpc::request(message, Some(&trace), Duration::from_secs(10));
        self.client.clone().create_build(request).await.unwrap().into_inner()
    }

    /// What a build would find.
    pub(crate) async fn preview(&self, source: &SourceArchive, images: Vec<ImageSpec>) -> Build {
        let build = Build { source: Some(source.clone()), images, ..Build::default() };
        let message = CreateBuildRequest { build: Some(build), build_id: "preview".into(), validate_only: true };
        self.client.clone().create_build(message).await.unwrap().into_inner()
    }

    /// From the cancel to the terminal snapshot, which is shown with the time.
    pub(crate) async fn cancel(&self, id: &str, at: &str) -> Build {
        let begun = std::time::Instant::now();
        let request = CancelBuildRequest { name: format!("builds/{id}") };
        self.client.clone().cancel_build(request).await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(30), self.ended(id)).await.unwrap();
        println!("canceled {at}: ended after {:.2} s", begun.elapsed().as_secs_f64());
        ended
    }

    pub(crate) async fn get(&self, id: &str) -> Build {
        let request = GetBuildRequest { name: format!("builds/{id}") };
        self.client.clone().get_build(request).await.unwrap().into_inner()
    }

    /// The first snapshot for which `wanted` holds.
    pub(crate) async fn until(&self, id: &str, wanted: impl Fn(&Build) -> bool) -> Build {
        let request = WatchBuildRequest { name: format!("builds/{id}") };
        let watching = async {
            let mut stream = self.client.clone().watch_build(request).await.unwrap().into_inner();
            let mut last = None;
            while let Some(build) = stream.message().await.unwrap() {
                if wanted(&build) {
                    return build;
                }
                last = Some(build);
            }
            panic!("ended before: {last:#?}");
        };
        tokio::time::timeout(Duration::from_secs(300), watching).await.unwrap()
    }

    pub(crate) async fn ended(&self, id: &str) -> Build {
        self.until(id, |build| build.end_time.is_some()).await
    }

    pub(crate) async fn succeeded(&self, id: &str) -> Build {
        let build = self.ended(id).await;
        assert_eq!(build.state(), State::Succeeded, "{build:#?}");
        build
    }

    /// As SIGKILL does: nothing gets to finish.
    pub(crate) fn kill(&self) {
        if let Some(runtime) = self.runtime.lock().unwrap().take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Puts an archive of these files into a store; a name that ends with `!` is executable.
pub(crate) async fn source(store: &Store, files: &[(&str, &str)]) -> SourceArchive {
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(if path.ends_with('!') { 0o755 } else { 0o644 });
        let path = format!("o-n-abc/{}", path.trim_end_matches('!'));
        builder.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    let bytes = builder.into_inner().unwrap().finish().unwrap();
    let digest = Digest::of(&bytes).to_string();
    let key = format!("sources/o/n/{}.tar.gz", &digest[7..20]);
    store.put(&key, bytes).await.unwrap();
    SourceArchive { key, digest, commit: "abc".into(), repository: "O/n".into() }
}

pub(crate) fn image(name: &str, context: &str) -> ImageSpec {
    ImageSpec { name: name.into(), context: context.into(), ..ImageSpec::default() }
}

/// Text that no cached layer knows.
pub(crate) fn unique(folder: &Path) -> String {
    folder.file_name().unwrap().to_string_lossy().replace('.', "")
}

/// Waits for something outside of the service.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
