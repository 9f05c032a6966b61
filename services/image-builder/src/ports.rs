//! What builds need from outside.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use kfops_core::{Clock, Digest, Failure, TraceContext};
use kfops_telemetry::Tracer;
use tokio_util::sync::CancellationToken;

use crate::reference::ImageName;

/// Everything from outside.
#[derive(Clone)]
pub struct Ports {
    /// Makes images.
    pub builder: Arc<dyn Builder>,
    /// Keeps images.
    pub registry: Arc<dyn Registry>,
    /// Where images go when a build names no registry.
    pub default_target: Target,
    /// The registry that keeps the images of every registry that builds name, each under its whole name. On one machine
    /// nobody can push to the registry that kfops.yaml means for the cluster.
    pub keeps_all: Option<Target>,
    /// Where spans go.
    pub tracer: Tracer,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// A registry with the beginning of the repositories' paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// e.g. `registry.example.com/iris`.
    pub prefix: String,
    /// Whether it is spoken to over plain HTTP.
    pub insecure: bool,
}

/// Where one image lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// What pipelines and people call it, without tag or digest, e.g. `registry.example.com/iris/trainer`.
    pub name: String,
    /// Where it is pushed to and read from: the name, unless one registry keeps the images of all others.
    pub location: String,
    /// Whether its registry is spoken to over plain HTTP.
    pub insecure: bool,
}

/// One image to build.
#[derive(Debug, Clone)]
pub struct Job {
    /// The assembled build context.
    pub context: PathBuf,
    /// The Dockerfile, inside the context.
    pub dockerfile: PathBuf,
    /// Build arguments.
    pub build_args: BTreeMap<String, String>,
    /// Where to push.
    pub repository: Repository,
    /// The tag to push under.
    pub tag: String,
    /// Whether a base image is a stand-in that only the embedded registry has.
    pub stand_in: bool,
    /// The log is appended here.
    pub log: PathBuf,
    /// A folder for what the builder writes.
    pub scratch: PathBuf,
    /// Longest that it may take.
    pub timeout: Duration,
    /// The image among all that are ever built, e.g. `builds/b-1/images/trainer`. Asked for again after a restart, it is the same.
    pub name: String,
    /// The span that the builder's own become children of.
    pub trace: Option<TraceContext>,
    /// The process is about to end, which cancels too. What goes on outside of it is left to the next one.
    pub leaving: CancellationToken,
}

/// An image that was built and pushed.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// Of the manifest.
    pub digest: Digest,
    /// When building ended and pushing began.
    pub built: SystemTime,
}

/// Makes images.
#[async_trait]
pub trait Builder: Send + Sync {
    /// Builds and pushes. Nothing that it started outlives the call, unless the process is leaving and the work goes on elsewhere.
    /// A failure to push has the reason `ImagePushFailed`.
    async fn build(&self, job: &Job, cancel: &CancellationToken) -> Result<Pushed, Failure>;
}

/// A base image, as the registry has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Of its manifest.
    pub digest: Digest,
    /// Made from Debian's packages because the public registry does not answer.
    pub stand_in: bool,
}

/// Keeps images.
#[async_trait]
pub trait Registry: Send + Sync {
    /// The digest of the manifest under a tag or digest; None when there is none.
    async fn head(&self, repository: &Repository, reference: &str) -> Result<Option<Digest>, Failure>;

    /// Puts a manifest that is there under one more tag.
    async fn tag(&self, repository: &Repository, digest: &Digest, tag: &str) -> Result<(), Failure>;

    /// The digest of a base image; `insecure` when its registry is spoken to over plain HTTP.
    async fn base(&self, image: &ImageName, insecure: bool, cancel: &CancellationToken) -> Result<Base, Failure>;

    /// The same, but nothing is made: None when a stand-in would have to be.
    async fn base_now(&self, image: &ImageName, insecure: bool) -> Result<Option<Base>, Failure>;
}
