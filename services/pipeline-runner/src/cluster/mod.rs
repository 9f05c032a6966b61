//! The ports over a cluster: pipelines run in Kubeflow Pipelines.
//!
//! Rights in Kubernetes, all of them in the namespace of `kfp.namespace`:
//!
//! | resource | verbs | for |
//! |---|---|---|
//! | configmaps, name `kfp-launcher` | get | the pipeline root, unless `kfp.pipeline_root` is set |
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
pub(crate) mod settings;
mod spec;
mod submit;
mod tasks;
mod watch;

use std::sync::Arc;

use kfops_core::{Failure, SystemClock};
use kfops_store::Store;
use kfops_telemetry::Tracer;

use self::{execute::KfpExecutor, kfp::Client, locate::Metadata, objects::Root, root::Roots, settings::KfpSettings};
use crate::{Ports, Settings};

/// Where runs are in KFP's namespace when it has no users.
const NAMESPACE: &str = "kubeflow";

impl Ports {
    /// Runs in KFP; compiles as on one machine.
    pub async fn cluster(settings: &Settings, kfp: &KfpSettings, tracer: Tracer) -> Result<Self, Failure> {
        kfp.validate()?;
        let local = Self::local(settings, tracer).await?;
        let fixed = kfp.pipeline_root.as_deref().map(Root::parse).transpose()?;
        let namespace = kfp.namespace.clone().unwrap_or_else(|| NAMESPACE.to_owned());
        let kubernetes = match fixed {
            Some(_) => None,
            None => Some((kfops_kube::connect(&settings.kubernetes).await?, namespace)),
        };
        let folder = settings.state.join("kfp");
        std::fs::create_dir_all(&folder)
            .map_err(|error| Failure::internal(format!("{}: {error}", folder.display())))?;
        let executor = KfpExecutor {
            client: Client::new(kfp)?,
            settings: kfp.clone(),
            artifacts: Store::open(&kfp.artifacts)?,
            metadata: kfp.metadata.as_deref().map(Metadata::new).transpose()?,
            store: local.store.clone(),
            roots: Roots::new(fixed, kubernetes),
            folder,
            clock: Arc::new(SystemClock),
        };
        executor.roots.get().await?;
        executor.probe().await?;
        Ok(Self { executor: Arc::new(executor), ..local })
    }

    /// As the settings say: in a cluster, or on one machine.
    pub async fn of(settings: &Settings, tracer: Tracer) -> Result<Self, Failure> {
        match &settings.kfp {
            Some(kfp) => Self::cluster(settings, kfp, tracer).await,
            None => Self::local(settings, tracer).await,
        }
    }
}
