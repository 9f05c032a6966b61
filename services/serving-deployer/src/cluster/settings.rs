//! The `kserve` section: how revisions become InferenceServices, and where their traffic comes in.

use std::path::PathBuf;

use kfops_core::{Failure, Reason};
use kfops_settings::HumanDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::service::ServiceName;

/// KServe's deployment mode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Deployments; the weights are on a VirtualService of Kfops' own.
    #[default]
    Standard,
}

/// Models are served by KServe in a cluster, instead of processes on this machine.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KserveSettings {
    /// Deployment mode of the InferenceServices.
    pub mode: Mode,
    /// Where people reach models, e.g. `https://kubeflow.example.com`, without a slash at the end.
    pub url: String,
    /// Where Kfops sends its own requests to models, e.g. `http://istio-ingressgateway.istio-system`. Unset: `url`.
    pub ingress: Option<String>,
    /// The Istio Gateway, `namespace/name`, through which models are reached.
    pub gateway: String,
    /// The host of models at that Gateway; `{name}` and `{namespace}` are filled in. `*`: whatever leads there.
    pub host: String,
    /// The path below which a model is reached; `{name}` and `{namespace}` are filled in.
    pub path: String,
    /// Token (a projected service account token) that Kfops shows at the ingress gateway; read for each request.
    pub token_file: Option<PathBuf>,
    /// The user that the mesh makes of this token, e.g. `system:serviceaccount:kfops:serving-deployer`. When set, Kfops
    /// lets this user ask models: an AuthorizationPolicy in each namespace that it deploys to. Leave it unset where
    /// no policy denies by default: there, it would shut everybody else out.
    pub user: Option<String>,
    /// Principal of the ingress gateway, for this policy.
    pub ingress_principal: String,
    /// Service account of predictors whose template names none: it has the credentials of the model store.
    pub service_account: Option<String>,
    /// A pod that no node takes for so long has failed. Longer than what adding a node takes, where nodes are added.
    pub unschedulable_after: HumanDuration,
    /// What judges canary steps.
    pub metrics: MetricsSettings,
}

/// Where requests to models are counted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsSettings {
    /// A Prometheus that has Istio's standard metrics of the ingress gateway, e.g. `http://prometheus.monitoring:9090`.
    /// Unset: the gateway's pods are asked.
    pub prometheus: Option<String>,
    /// Namespace of the ingress gateway's pods.
    pub namespace: String,
    /// Label selector of the ingress gateway's pods.
    pub selector: String,
    /// Their port with `/stats/prometheus`.
    pub port: u16,
    /// Ask through the Kubernetes API (needs `get` on `pods/proxy` there), for a Kfops outside of the cluster's network.
    pub by_api_server: bool,
}

impl Default for KserveSettings {
    fn default() -> Self {
        Self {
            mode: Mode::Standard,
            url: String::new(),
            ingress: None,
            gateway: "kubeflow/kubeflow-gateway".into(),
            host: "*".into(),
            path: "/serving/{namespace}/{name}".into(),
            token_file: None,
            user: None,
            ingress_principal: "cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account".into(),
            service_account: None,
            unschedulable_after: HumanDuration::from_secs(30),
            metrics: MetricsSettings::default(),
        }
    }
}

impl Default for MetricsSettings {
    fn default() -> Self {
        Self {
            prometheus: None,
            namespace: "istio-system".into(),
            selector: "app=istio-ingressgateway".into(),
            port: 15090,
            by_api_server: false,
        }
    }
}

impl KserveSettings {
    /// Fails for what cannot work.
    pub fn validate(&self) -> Result<(), Failure> {
        let wrong = |field: &str, text: &str| {
            Err(Failure::new(Reason::InvalidArgument, format!("kserve.{field} {text}")).on(format!("kserve.{field}")))
        };
        let http = |url: &str| {
            reqwest::Url::parse(url).is_ok_and(|u| matches!(u.scheme(), "http" | "https") && u.host_str().is_some())
                && !url.ends_with('/')
        };
        if !http(&self.url) {
            return wrong("url", "must be http(s)://host without a slash at the end");
        }
        if self.ingress.as_deref().is_some_and(|url| !http(url)) {
            return wrong("ingress", "must be http(s)://host without a slash at the end");
        }
        if self.metrics.prometheus.as_deref().is_some_and(|url| !http(url)) {
            return wrong("metrics.prometheus", "must be http(s)://host without a slash at the end");
        }
        let both = |text: &str| text.contains("{name}") && text.contains("{namespace}");
        if !both(&self.path) && !both(&self.host) {
            return wrong("path", "or kserve.host must hold {name} and {namespace}: else two models have one address");
        }
        if !self.path.is_empty() && (!self.path.starts_with('/') || self.path.ends_with('/')) {
            return wrong("path", "must begin with a slash and end without one");
        }
        if self.gateway.split('/').count() != 2 {
            return wrong("gateway", "must be namespace/name");
        }
        Ok(())
    }

    /// The path of a service at the gateway, without a slash at the end.
    pub(super) fn path_of(&self, service: &ServiceName) -> String {
        fill(&self.path, service)
    }

    /// The host of a service at the gateway.
    pub(super) fn host_of(&self, service: &ServiceName) -> String {
        fill(&self.host, service)
    }

    /// URL that people use, without a slash at the end.
    pub(super) fn public_base(&self, service: &ServiceName) -> String {
        let host = self.host_of(service);
        let url = match (host.as_str(), self.url.split_once("://")) {
            ("*", _) | (_, None) => self.url.clone(),
            (host, Some((scheme, authority))) => match authority.rsplit_once(':') {
                Some((_, port)) => format!("{scheme}://{host}:{port}"),
                None => format!("{scheme}://{host}"),
            },
        };
        url + &self.path_of(service)
    }
}

fn fill(text: &str, service: &ServiceName) -> String {
    text.replace("{namespace}", &service.namespace).replace("{name}", &service.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> KserveSettings {
        KserveSettings { url: "https://kubeflow.example.com".into(), ..KserveSettings::default() }
    }

    #[test]
    fn addresses_are_told_apart_by_path_or_host() {
        let iris = ServiceName { namespace: "team".into(), name: "iris".into() };
        assert!(settings().validate().is_ok());
        assert_eq!(settings().public_base(&iris), "https://kubeflow.example.com/serving/team/iris");
        let by_host =
            KserveSettings { host: "{name}-{namespace}.example.com".into(), path: String::new(), ..settings() };
        assert!(by_host.validate().is_ok());
        assert_eq!(by_host.public_base(&iris), "https://iris-team.example.com");
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let bad = [
            KserveSettings { url: String::new(), ..settings() },
            KserveSettings { url: "ftp://x".into(), ..settings() },
            KserveSettings { path: "/serving".into(), ..settings() },
            KserveSettings { path: "/serving/{namespace}/{name}/".into(), ..settings() },
            KserveSettings { gateway: "kubeflow-gateway".into(), ..settings() },
            KserveSettings { ingress: Some("gateway".into()), ..settings() },
        ];
        for settings in bad {
            assert_eq!(settings.validate().unwrap_err().reason, Reason::InvalidArgument, "{settings:?}");
        }
    }
}
