//! The `buildkit` section: what the pods of builds look like.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Toleration;
use kfops_core::{Failure, Reason};
use kfops_kube::job::Patience;
use kfops_settings::HumanDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reference::ImageName;

/// How images are built in a cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BuildKitSettings {
    /// Image with rootless BuildKit and a shell.
    pub image: String,
    /// Program of that image that starts buildkitd and runs buildctl with the arguments that follow.
    pub command: Vec<String>,
    /// What fetches the build context before.
    pub fetcher: Fetcher,
    /// User and group that BuildKit's image is made for.
    pub user: u32,
    /// ConfigMap whose key `buildkitd.toml` configures BuildKit, e.g. mirrors and registries without TLS.
    pub config_map: Option<String>,
    /// Secret of the type `kubernetes.io/dockerconfigjson` with which BuildKit pulls and pushes. Nothing else gets it.
    pub registry_secret: Option<String>,
    /// Secrets with which nodes pull the images above.
    pub image_pull_secrets: Vec<String>,
    /// Whether layers are kept in the registry, beside each image under the tag `kfops-cache`.
    pub registry_cache: bool,
    /// Whether images carry a provenance attestation (SLSA, mode min).
    pub provenance: bool,
    /// Image that BuildKit starts to list what is in an image, for an SBOM attestation (SPDX 2.3): that of this service, which
    /// knows the packages of Debian, Alpine and Python, or docker.io/docker/buildkit-syft-scanner:stable-1. BuildKit pulls it with
    /// `registry_secret`. Unset: no SBOM.
    pub sbom_scanner: Option<String>,
    /// Of the container that builds.
    pub resources: Resources,
    /// Most disk that a build may use, e.g. `20Gi`; the node evicts what uses more.
    pub disk: Option<String>,
    /// Nodes that may build.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that builds bear.
    pub tolerations: Vec<Toleration>,
    /// Service account of the pods; it needs no rights and its token is not mounted.
    pub service_account: Option<String>,
    /// Priority class of the pods.
    pub priority_class: Option<String>,
    /// Labels of Jobs and pods.
    pub labels: BTreeMap<String, String>,
    /// Annotations of Jobs and pods.
    pub annotations: BTreeMap<String, String>,
    /// Where BuildKit sends its spans (OTLP over gRPC), e.g. http://collector:4317. Unset: as `telemetry.otlp_endpoint`.
    pub otlp_endpoint: Option<String>,
    /// How long Kubernetes keeps a Job that failed; one that succeeded is removed.
    pub keep: HumanDuration,
    /// Attempts in all; another one follows only when the cluster failed.
    pub attempts: u32,
    /// How long builds wait for what keeps them from running. Each obstacle is in the log at once.
    pub patience: PatienceSettings,
}

/// What fetches the build context in a pod: this service's own program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Fetcher {
    /// Image with the program: that of this service.
    pub image: String,
    /// The program; `fetch-context` follows.
    pub command: Vec<String>,
}

/// Requests and limits in Kubernetes' quantities, e.g. `cpu: 500m`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// What is kept free for a build.
    pub requests: BTreeMap<String, String>,
    /// Most that it may use.
    pub limits: BTreeMap<String, String>,
}

/// How long builds wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PatienceSettings {
    /// For what somebody may add yet, e.g. a secret.
    pub objects: HumanDuration,
    /// For a registry that does not give the image of BuildKit.
    pub registry: HumanDuration,
    /// For room: quotas, nodes. An autoscaler needs minutes.
    pub capacity: HumanDuration,
    /// For a node that does not start the pod.
    pub node: HumanDuration,
}

impl Default for BuildKitSettings {
    fn default() -> Self {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        Self {
            image: "docker.io/moby/buildkit:v0.33.1-rootless".into(),
            command: vec!["buildctl-daemonless.sh".into()],
            fetcher: Fetcher::default(),
            user: 1000,
            config_map: None,
            registry_secret: None,
            image_pull_secrets: Vec::new(),
            registry_cache: true,
            provenance: true,
            sbom_scanner: None,
            resources: Resources {
                requests: [pair("cpu", "500m"), pair("memory", "1Gi")].into(),
                limits: [pair("memory", "4Gi")].into(),
            },
            disk: Some("20Gi".into()),
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            service_account: None,
            priority_class: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            otlp_endpoint: None,
            keep: HumanDuration::from_secs(600),
            attempts: 3,
            patience: PatienceSettings::default(),
        }
    }
}

impl Default for Fetcher {
    fn default() -> Self {
        Self { image: String::new(), command: vec!["/usr/local/bin/kfops-image-builder".into()] }
    }
}

impl Default for PatienceSettings {
    fn default() -> Self {
        let Patience { objects, registry, capacity, node } = Patience::default();
        let human = |duration: std::time::Duration| HumanDuration::from_secs(duration.as_secs());
        Self { objects: human(objects), registry: human(registry), capacity: human(capacity), node: human(node) }
    }
}

impl PatienceSettings {
    pub(super) fn get(&self) -> Patience {
        Patience {
            objects: self.objects.get(),
            registry: self.registry.get(),
            capacity: self.capacity.get(),
            node: self.node.get(),
        }
    }
}

impl BuildKitSettings {
    /// Refuses what Kubernetes would refuse at the first build, naming the key.
    pub(super) fn validate(&self) -> Result<(), Failure> {
        let wrong = |key: &str, message: String| {
            Err(Failure::new(Reason::InvalidArgument, message).on(format!("buildkit.{key}")))
        };
        let images = [
            ("image", Some(&self.image)),
            ("fetcher.image", Some(&self.fetcher.image)),
            ("sbom_scanner", self.sbom_scanner.as_ref()),
        ];
        for (key, image) in images {
            if let Some(Err(message)) = image.map(|image| ImageName::parse(image)) {
                return wrong(key, message);
            }
        }
        if self.command.is_empty() || self.fetcher.command.is_empty() {
            return wrong("command", "a command has at least its program".into());
        }
        if self.user == 0 {
            return wrong("user", "builds do not run as root".into());
        }
        let names = [
            ("config_map", &self.config_map),
            ("registry_secret", &self.registry_secret),
            ("service_account", &self.service_account),
            ("priority_class", &self.priority_class),
        ];
        let names = names.into_iter().filter_map(|(key, name)| Some((key, name.as_ref()?)));
        for (key, name) in names.chain(self.image_pull_secrets.iter().map(|name| ("image_pull_secrets", name))) {
            if !is_object_name(name) {
                return wrong(key, format!("`{name}` is not the name of an object"));
            }
        }
        let quantities = self.resources.requests.values().chain(self.resources.limits.values()).chain(&self.disk);
        for quantity in quantities {
            if !is_quantity(quantity) {
                return wrong("resources", format!("`{quantity}` is not a quantity such as 500m, 2 or 4Gi"));
            }
        }
        if self.otlp_endpoint.as_ref().is_some_and(|url| !url.starts_with("http://") && !url.starts_with("https://")) {
            return wrong("otlp_endpoint", "it begins with http:// or https://".into());
        }
        if self.attempts == 0 {
            return wrong("attempts", "there is at least one attempt".into());
        }
        Ok(())
    }
}

/// A DNS subdomain (RFC 1123), as most objects are named.
fn is_object_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        })
}

/// Digits with an optional point, and a suffix.
fn is_quantity(text: &str) -> bool {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    number.parse::<f64>().is_ok() && ["", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"].contains(&suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_would_refuse_is_named() {
        let good = BuildKitSettings {
            fetcher: Fetcher { image: "r.example.com/kfops/image-builder:1".into(), ..Fetcher::default() },
            ..BuildKitSettings::default()
        };
        assert_eq!(good.validate(), Ok(()));
        type Change = fn(&mut BuildKitSettings);
        let cases: [(&str, Change); 7] = [
            ("fetcher.image", |s| s.fetcher.image.clear()),
            ("image", |s| s.image = "dir:/x".into()),
            ("user", |s| s.user = 0),
            ("registry_secret", |s| s.registry_secret = Some("A".into())),
            ("resources", |s| s.disk = Some("much".into())),
            ("otlp_endpoint", |s| s.otlp_endpoint = Some("collector:4317".into())),
            ("command", |s| s.command.clear()),
        ];
        for (key, change) in cases {
            let mut wrong = good.clone();
            change(&mut wrong);
            assert_eq!(wrong.validate().unwrap_err().resource, format!("buildkit.{key}"));
        }
    }
}
