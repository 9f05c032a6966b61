//! The ports over a cluster: pipelines compile in pods (`sandbox`) and run in Kubeflow Pipelines (`kfp`).
//!
//! Rights in Kubernetes:
//!
//! | namespace | group | resource | verbs | for |
//! |---|---|---|---|---|
//! | `kfp.namespace`, else `kubeflow` | | `configmaps`, name `kfp-launcher` | `get` | the pipeline root, unless `kfp.pipeline_root` is set |
//! | `sandbox.namespace` | `batch` | `jobs` | `create`, `get`, `delete`, `list`, `watch` | a Job for each version |
//! | | | `pods` | `list`, `watch` | their states |
//! | | | `pods/log` | `get` | their output |
//! | | | `pods/attach` | `get`, `create` | the source, handed to a pod that has no network |
//! | | | `events` | `list`, `watch` | why a pod is not made, not scheduled, not started |
//!
//! KFP itself asks Kubernetes about this service's account (token with the audience `pipelines.kubeflow.org`):
//! `pipelines.kubeflow.org` experiments create, get, list; pipelines and pipelines/versions create, get, list; runs create,
//! get, list, terminate. The ClusterRole `kubeflow-edit` holds them.

mod execute;
mod kfp;
mod locate;
mod objects;
mod outcome;
mod root;
pub(crate) mod sandbox;
pub(crate) mod settings;
mod spec;
mod submit;
mod tasks;
mod watch;

use std::sync::Arc;

use kfops_core::{Failure, SystemClock};
use kfops_store::Store;
use kfops_telemetry::Tracer;

use self::{
    execute::KfpExecutor,
    kfp::Client,
    locate::Metadata,
    objects::Root,
    root::Roots,
    sandbox::{SandboxCompiler, settings::SandboxSettings},
    settings::KfpSettings,
};
use crate::{
    Ports, Settings,
    local::folder,
    ports::{Compiler, Executor},
};

/// Where runs are in KFP's namespace when it has no users.
const NAMESPACE: &str = "kubeflow";

impl Ports {
    /// As the settings say: in a cluster, or on one machine, or compiling here and running there.
    pub async fn of(settings: &Settings, tracer: Tracer) -> Result<Self, Failure> {
        let (store, local) = if settings.sandbox.is_none() || settings.kfp.is_none() {
            let local = Self::local(settings, tracer.clone()).await?;
            (local.store.clone(), Some(local))
        } else {
            // Nothing runs on this machine: no Python is needed here.
            folder(&settings.state)?;
            (Store::open(&settings.store)?, None)
        };
        let compiler = match &settings.sandbox {
            Some(sandbox) => Some(compiler(settings, sandbox, store.clone()).await?),
            None => None,
        };
        let executor = match &settings.kfp {
            Some(kfp) => Some(executor(settings, kfp, store.clone()).await?),
            None => None,
        };
        let none = || Failure::internal("nothing to compile or to run with");
        let (here, there) = local.map(|local| (local.compiler, local.executor)).unzip();
        Ok(Self {
            compiler: compiler.or(here).ok_or_else(none)?,
            executor: executor.or(there).ok_or_else(none)?,
            store,
            tracer,
            clock: Arc::new(SystemClock),
        })
    }
}

/// Runs in KFP.
async fn executor(settings: &Settings, kfp: &KfpSettings, store: Store) -> Result<Arc<dyn Executor>, Failure> {
    kfp.validate()?;
    let fixed = kfp.pipeline_root.as_deref().map(Root::parse).transpose()?;
    let namespace = kfp.namespace.clone().unwrap_or_else(|| NAMESPACE.to_owned());
    let kubernetes = match fixed {
        Some(_) => None,
        None => Some((kfops_kube::connect(&settings.kubernetes).await?, namespace)),
    };
    let executor = KfpExecutor {
        client: Client::new(kfp)?,
        settings: kfp.clone(),
        artifacts: Store::open(&kfp.artifacts)?,
        metadata: kfp.metadata.as_deref().map(Metadata::new).transpose()?,
        store,
        roots: Roots::new(fixed, kubernetes),
        folder: folder(&settings.state.join("kfp"))?,
        clock: Arc::new(SystemClock),
    };
    executor.roots.get().await?;
    executor.probe().await?;
    Ok(Arc::new(executor))
}

/// Compiles in pods.
async fn compiler(settings: &Settings, sandbox: &SandboxSettings, store: Store) -> Result<Arc<dyn Compiler>, Failure> {
    let client = kfops_kube::connect(&settings.kubernetes).await?;
    let compiler = SandboxCompiler::new(client, settings, sandbox, store, folder(&settings.state.join("compile"))?)?;
    Ok(Arc::new(compiler))
}
