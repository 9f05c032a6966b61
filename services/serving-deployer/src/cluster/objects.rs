//! The custom resources that Kfops reads and writes, as far as it looks into them, and the names of what is its own.

use std::borrow::Cow;

use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::Resource;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Label of InferenceServices and pods: the revision that they serve.
pub(super) const REVISION: &str = "kfops.dev/revision";
/// Label of InferenceServices, pods and routes: the InferenceService that they belong to.
pub(super) const SERVICE: &str = "kfops.dev/inference-service";
/// Annotation of an InferenceService that Kfops made under the template's name: the revision that it was made for.
pub(super) const MADE_FOR: &str = "kfops.dev/made-for";
/// Annotation: W3C trace context of the rollout.
pub(super) const TRACEPARENT: &str = "kfops.dev/traceparent";
/// Label of whatever Kfops made.
pub(super) const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "kfops");
/// KServe's label: no address outside of the cluster.
pub(super) const CLUSTER_LOCAL: (&str, &str) = ("networking.kserve.io/visibility", "cluster-local");
/// KServe's annotation.
pub(super) const DEPLOYMENT_MODE: &str = "serving.kserve.io/deploymentMode";
/// The container of a predictor's pod that serves the model.
pub(super) const SERVER: &str = "kserve-container";
/// The container that fetches the model.
pub(super) const INITIALIZER: &str = "storage-initializer";

macro_rules! custom_resource {
    ($(#[$doc:meta])* $name:ident, $scope:ty, $group:literal, $version:literal, $plural:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, Serialize, Deserialize)]
        pub(super) struct $name {
            #[serde(default)]
            pub(super) metadata: ObjectMeta,
            #[serde(default)]
            pub(super) spec: Value,
            #[serde(default, skip_serializing_if = "Value::is_null")]
            pub(super) status: Value,
        }

        impl Resource for $name {
            type DynamicType = ();
            type Scope = $scope;

            fn kind((): &()) -> Cow<'_, str> {
                stringify!($name).into()
            }
            fn group((): &()) -> Cow<'_, str> {
                $group.into()
            }
            fn version((): &()) -> Cow<'_, str> {
                $version.into()
            }
            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

custom_resource!(
    /// KServe 0.16 to 0.20.
    InferenceService, NamespaceResourceScope, "serving.kserve.io", "v1beta1", "inferenceservices"
);
custom_resource!(
    /// KServe 0.16 to 0.20.
    ServingRuntime, NamespaceResourceScope, "serving.kserve.io", "v1alpha1", "servingruntimes"
);
custom_resource!(
    /// KServe 0.16 to 0.20.
    ClusterServingRuntime, ClusterResourceScope, "serving.kserve.io", "v1alpha1", "clusterservingruntimes"
);
custom_resource!(
    /// Istio 1.22 and newer.
    VirtualService, NamespaceResourceScope, "networking.istio.io", "v1", "virtualservices"
);
custom_resource!(
    /// Istio 1.22 and newer.
    AuthorizationPolicy, NamespaceResourceScope, "security.istio.io", "v1", "authorizationpolicies"
);

impl InferenceService {
    pub(super) fn label(&self, key: &str) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }

    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// Whether somebody deletes it.
    pub(super) fn is_going(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// The revision that the one of the template's name serves. Before Kfops came, it was `<name>-00000`.
    pub(super) fn carries(&self) -> String {
        match self.label(REVISION) {
            Some(revision) => revision.to_owned(),
            None => adopted(self.metadata.name.as_deref().unwrap_or_default()),
        }
    }
}

/// The name of the revision that was there before Kfops.
pub(super) fn adopted(service: &str) -> String {
    format!("{service}-00000")
}

/// `iris` of `iris-00007`.
pub(super) fn service_of(revision: &str) -> &str {
    revision.rsplit_once('-').map_or(revision, |(service, _)| service)
}

/// The Service (and Deployment) of an InferenceService's predictor, Standard mode.
pub(super) fn predictor(inference_service: &str) -> String {
    format!("{inference_service}-predictor")
}

/// The host of a predictor's Service.
pub(super) fn predictor_host(namespace: &str, inference_service: &str) -> String {
    format!("{}.{namespace}.svc.cluster.local", predictor(inference_service))
}

/// The VirtualService of a service.
pub(super) fn route(service: &str) -> String {
    format!("kfops-{service}")
}
