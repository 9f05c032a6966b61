//! Where artifacts go when the settings do not say: the ConfigMap `kfp-launcher` of the namespace.

use k8s_openapi::api::core::v1::ConfigMap;
use kfops_core::Failure;
use kube::{Api, Client};
use tokio::sync::OnceCell;

use super::objects::{DEFAULT_ROOT, Root};

/// KFP's launcher reads it.
const CONFIG_MAP: &str = "kfp-launcher";

/// The pipeline root, asked for once.
pub(super) struct Roots {
    fixed: Option<Root>,
    kubernetes: Option<(Client, String)>,
    found: OnceCell<Root>,
}

impl Roots {
    /// A root of the settings, or none and where to look.
    pub(super) fn new(fixed: Option<Root>, kubernetes: Option<(Client, String)>) -> Self {
        Self { fixed, kubernetes, found: OnceCell::new() }
    }

    /// The root that is given to every run, so that it is known whatever the ConfigMap becomes.
    pub(super) async fn get(&self) -> Result<Root, Failure> {
        if let Some(root) = &self.fixed {
            return Ok(root.clone());
        }
        self.found.get_or_try_init(|| self.look()).await.cloned()
    }

    async fn look(&self) -> Result<Root, Failure> {
        let Some((client, namespace)) = &self.kubernetes else { return Root::parse(DEFAULT_ROOT) };
        let maps = Api::<ConfigMap>::namespaced(client.clone(), namespace);
        let resource = format!("configmaps/{CONFIG_MAP}");
        let map = kfops_kube::optional(maps.get(CONFIG_MAP).await, &resource)?;
        let root = map.and_then(|map| map.data?.remove("defaultPipelineRoot")).filter(|root| !root.trim().is_empty());
        let root = root.unwrap_or_else(|| DEFAULT_ROOT.to_owned());
        tracing::info!(namespace, root, "pipeline root");
        Root::parse(root.trim())
    }
}
