//! Settings of the image builder.

use std::path::PathBuf;

use kfops_kube::KubernetesSettings;
use kfops_settings::HumanDuration;
use kfops_store::StoreSettings;
use kfops_telemetry::TelemetrySettings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::BuildKitSettings;

/// Settings of the image builder.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where gRPC is served.
    pub listen: String,
    /// Spans and logs.
    pub telemetry: TelemetrySettings,
    /// Folder of this service's own state: its database and what builds need while they run.
    pub state: PathBuf,
    /// Object store with the sources, and for the logs: `file:///folder`, `s3://bucket/prefix`, or a mapping with `url`, `endpoint` and more.
    pub store: StoreSettings,
    /// Images that are built at the same time.
    pub parallel: usize,
    /// Longest that one image may take.
    pub build_timeout: HumanDuration,
    /// How long a shutdown waits for builds under way; what is not done by then is resumed at the next start.
    pub shutdown_patience: HumanDuration,
    /// Where images go when a build names no registry.
    pub registry: RegistrySettings,
    /// The registry that this service serves itself while `registry.prefix` is empty.
    pub embedded_registry: EmbeddedRegistrySettings,
    /// How images are built on this machine, without `kubernetes`.
    pub local: LocalSettings,
    /// The cluster in which images are built; `namespace` is that of the builds. Without this, they are built on this machine.
    pub kubernetes: Option<KubernetesSettings>,
    /// How images are built in a cluster.
    pub buildkit: BuildKitSettings,
}

/// A registry to push to.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RegistrySettings {
    /// Prefix of the repositories, e.g. `registry.example.com/team`. Empty: the embedded registry.
    pub prefix: String,
    /// Whether it is spoken to over plain HTTP.
    pub insecure: bool,
    /// Credentials, in the format of Docker's `config.json` (`auths`).
    pub auth_file: Option<PathBuf>,
}

/// The embedded registry.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EmbeddedRegistrySettings {
    /// Where it is served. It has no access control: keep it on loopback.
    pub listen: String,
    /// Folder of its blobs.
    pub folder: PathBuf,
    /// Whether it keeps the images of every registry that builds name, each under its whole name.
    pub for_all: bool,
}

/// How images are built on one machine.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LocalSettings {
    /// Which program builds.
    pub builder: BuilderChoice,
    /// buildah's and podman's isolation of `RUN`.
    pub isolation: Isolation,
    /// Folder for what is worth keeping between states: layers and stand-in base images.
    /// Default: `kfops` in the user's cache folder.
    pub cache: Option<PathBuf>,
    /// CA bundle that builds see read-only as `/etc/ssl/certs/ca-certificates.crt`: `auto` (the one that this
    /// machine's environment or pip configuration names), `none`, or a path.
    pub ca_bundle: HostFile,
    /// pip configuration that builds see read-only as `/etc/pip.conf`: `auto` (made from this machine's, without
    /// credentials), `none`, or a path.
    pub pip_config: HostFile,
    /// Whether missing base images are replaced by ones made from Debian's packages.
    pub stand_in: StandIn,
}

/// Which program builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BuilderChoice {
    /// The first of these that works.
    #[default]
    Auto,
    /// BuildKit's client.
    Buildctl,
    /// buildah.
    Buildah,
    /// podman.
    Podman,
    /// docker.
    Docker,
}

/// How `RUN` is isolated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// `chroot`, which works everywhere.
    #[default]
    Auto,
    /// chroot and bind mounts: no container runtime needed, no boundary against hostile code.
    Chroot,
    /// An OCI runtime.
    Oci,
    /// An OCI runtime without root.
    Rootless,
}

/// A file of this machine that builds may read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String", into = "String")]
pub enum HostFile {
    /// Found out.
    #[default]
    Auto,
    /// Nothing.
    None,
    /// This one.
    Path(PathBuf),
}

/// Whether stand-ins are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StandIn {
    /// When the public registry does not answer.
    #[default]
    Auto,
    /// Without asking the public registry.
    Always,
    /// Not at all.
    Never,
}

impl From<String> for HostFile {
    fn from(text: String) -> Self {
        match text.as_str() {
            "" | "auto" => Self::Auto,
            "none" => Self::None,
            path => Self::Path(path.into()),
        }
    }
}

impl From<HostFile> for String {
    fn from(file: HostFile) -> Self {
        match file {
            HostFile::Auto => "auto".into(),
            HostFile::None => "none".into(),
            HostFile::Path(path) => path.to_string_lossy().into_owned(),
        }
    }
}

impl LocalSettings {
    /// The cache folder.
    #[must_use]
    pub fn cache_folder(&self) -> PathBuf {
        let home = || std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from);
        self.cache.clone().unwrap_or_else(|| {
            let base = std::env::var_os("XDG_CACHE_HOME").filter(|v| !v.is_empty()).map(PathBuf::from);
            base.unwrap_or_else(|| home().join(".cache")).join("kfops")
        })
    }
}

impl kfops_boot::ServiceSettings for Settings {
    fn listen(&self) -> &str {
        &self.listen
    }

    fn telemetry(&self) -> &TelemetrySettings {
        &self.telemetry
    }
}

impl Default for Settings {
    fn default() -> Self {
        let current = std::env::current_dir().unwrap_or_default();
        Self {
            listen: "127.0.0.1:9002".into(),
            telemetry: TelemetrySettings::default(),
            state: current.join(".kfops/image-builder"),
            store: format!("file://{}", current.join(".kfops/store").display()).into(),
            parallel: 2,
            build_timeout: HumanDuration::from_secs(1800),
            shutdown_patience: HumanDuration::from_secs(10),
            registry: RegistrySettings::default(),
            embedded_registry: EmbeddedRegistrySettings::default(),
            local: LocalSettings::default(),
            kubernetes: None,
            buildkit: BuildKitSettings::default(),
        }
    }
}

impl Default for EmbeddedRegistrySettings {
    fn default() -> Self {
        let current = std::env::current_dir().unwrap_or_default();
        Self { listen: "127.0.0.1:5000".into(), folder: current.join(".kfops/registry"), for_all: false }
    }
}
