//! The connection to the API server.

use std::{fmt::Debug, time::Duration};

use kfops_core::{Failure, Reason};
use kube::{
    Api, Client, Config, Resource,
    api::{Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{KubernetesSettings, failure};

/// Who owns the fields that Kfops applies (server-side apply).
pub const FIELD_MANAGER: &str = "kfops";

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest silence of the API server, watches included: they are asked to end before.
const READ: Duration = Duration::from_secs(310);

/// A client for the cluster of the settings, with its default namespace in place. Connects lazily.
pub async fn connect(settings: &KubernetesSettings) -> Result<Client, Failure> {
    let wrong = |error: &dyn std::fmt::Display| {
        Failure::new(Reason::InvalidArgument, format!("the cluster's address and credentials cannot be had: {error}"))
            .on("kubernetes")
            .action("run in a pod with a service account, or set kubernetes.kubeconfig")
    };
    let mut config = match &settings.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).map_err(|error| wrong(&error))?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(|error| wrong(&error))?
        }
        None => Config::incluster().map_err(|error| wrong(&error))?,
    };
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(READ);
    if let Some(namespace) = &settings.namespace {
        config.default_namespace.clone_from(namespace);
    }
    Client::try_from(config).map_err(|error| wrong(&error))
}

/// Server-side apply under Kfops' field manager. `force` takes over fields that somebody else owns; without it such a
/// conflict is a failure that names the owner.
pub async fn apply<K>(api: &Api<K>, name: &str, object: &(impl Serialize + Debug), force: bool) -> Result<K, Failure>
where
    K: Resource + Clone + DeserializeOwned + Debug,
    K::DynamicType: Default,
{
    let parameters = PatchParams { force, ..PatchParams::apply(FIELD_MANAGER) };
    let kind = K::plural(&K::DynamicType::default()).into_owned();
    api.patch(name, &parameters, &Patch::Apply(object))
        .await
        .map_err(|error| failure(&error, &format!("{kind}/{name}")))
}
