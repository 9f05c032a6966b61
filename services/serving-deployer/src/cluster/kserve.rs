//! What runtime and router share: the objects in the cluster, and what is remembered of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use kfops_core::{Failure, Reason};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, LogParams, Patch, PatchParams},
};
use serde_json::Value;

use super::{
    objects::{ClusterServingRuntime, InferenceService, SERVICE, ServingRuntime, VirtualService, predictor, route},
    prober::Ingress,
    route::Leg,
    runtimes::Serving,
    scrape::Scraper,
    settings::KserveSettings,
    state::Seen,
};
use crate::{
    Settings,
    ports::Server,
    service::{RevisionKey, ServiceName},
};

/// Of a log, from its end.
const LOG_LINES: i64 = 400;
const LOG_BYTES: i64 = 64 * 1024;

/// What is remembered of a revision.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    pub(super) at: Instant,
    pub(super) server: Server,
    pub(super) wrong_since: Option<Instant>,
    pub(super) doing: String,
}

/// What is remembered of a service.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The route; None: not looked at yet.
    pub(super) legs: Option<Vec<Leg>>,
    /// Whether each of the gateway's pods was seen to have it.
    pub(super) in_force: bool,
    /// What people should know.
    pub(super) notices: Vec<String>,
    /// When it was last looked at whether all is where it belongs.
    pub(super) settled_at: Option<Instant>,
}

/// The cluster.
pub(super) struct Kserve {
    pub(super) client: Client,
    pub(super) settings: KserveSettings,
    pub(super) predict_timeout: Duration,
    pub(super) drain_timeout: Duration,
    pub(super) prober: Arc<Ingress>,
    pub(super) scraper: Scraper,
    revisions: Mutex<HashMap<RevisionKey, Memory>>,
    services: Mutex<HashMap<ServiceName, Known>>,
    /// When a host left the route.
    left: Mutex<HashMap<String, Instant>>,
}

impl Kserve {
    pub(super) fn new(
        client: Client,
        kserve: KserveSettings,
        settings: &Settings,
        prober: Arc<Ingress>,
    ) -> Result<Self, Failure> {
        Ok(Self {
            scraper: Scraper::new(client.clone(), kserve.metrics.clone())?,
            client,
            settings: kserve,
            predict_timeout: settings.predict_timeout.get(),
            drain_timeout: settings.drain_timeout.get(),
            prober,
            revisions: Mutex::default(),
            services: Mutex::default(),
            left: Mutex::default(),
        })
    }

    pub(super) fn revisions(&self) -> MutexGuard<'_, HashMap<RevisionKey, Memory>> {
        self.revisions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes or reads what is remembered of a service.
    pub(super) fn known<T>(&self, service: &ServiceName, with: impl FnOnce(&mut Known) -> T) -> T {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        with(services.entry(service.clone()).or_default())
    }

    pub(super) fn left(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn services_in(&self, namespace: &str) -> Api<InferenceService> {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(super) async fn get(&self, namespace: &str, name: &str) -> Result<Option<InferenceService>, Failure> {
        let found = self.services_in(namespace).get(name).await;
        kfops_kube::optional(found, &format!("inferenceservices/{name}"))
    }

    /// All InferenceServices that Kfops made for a service: the one of its name (if it is Kfops') and candidates.
    pub(super) async fn all_of(&self, service: &ServiceName) -> Result<Vec<InferenceService>, Failure> {
        let labels = ListParams::default().labels(&format!("{SERVICE}={}", service.name));
        let found = self.services_in(&service.namespace).list(&labels).await;
        Ok(found.map_err(|error| kfops_kube::failure(&error, "inferenceservices"))?.items)
    }

    /// Reads what there is about the revision that an InferenceService should serve.
    pub(super) async fn see(&self, namespace: &str, service: InferenceService) -> Result<Seen, Failure> {
        let name = predictor(service.metadata.name.as_deref().unwrap_or_default());
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        let deployment = kfops_kube::optional(deployments.get(&name).await, &format!("deployments/{name}"))?;
        let pods = match &deployment {
            Some(_) => self.pods(namespace, &name).await?,
            None => Vec::new(),
        };
        Ok(Seen { service, deployment, pods })
    }

    async fn pods(&self, namespace: &str, predictor: &str) -> Result<Vec<Pod>, Failure> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let of_predictor = ListParams::default().labels(&format!("app=isvc.{predictor}"));
        Ok(pods.list(&of_predictor).await.map_err(|error| kfops_kube::failure(&error, "pods"))?.items)
    }

    /// The end of a container's log.
    pub(super) async fn pod_log(&self, namespace: &str, pod: &str, container: &str, previous: bool) -> String {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let parameters = LogParams {
            container: Some(container.to_owned()),
            previous,
            tail_lines: Some(LOG_LINES),
            limit_bytes: Some(LOG_BYTES),
            ..LogParams::default()
        };
        pods.logs(pod, &parameters).await.unwrap_or_default()
    }

    /// The serving runtimes that a namespace may use.
    pub(super) async fn runtimes(&self, namespace: &str) -> Result<Vec<Serving>, Failure> {
        let own: Api<ServingRuntime> = Api::namespaced(self.client.clone(), namespace);
        let all: Api<ClusterServingRuntime> = Api::all(self.client.clone());
        let every = ListParams::default();
        let failed = |kind: &'static str| move |error: kube::Error| kfops_kube::failure(&error, kind);
        let own = own.list(&every).await.map_err(failed("servingruntimes"))?;
        let all = all.list(&every).await.map_err(failed("clusterservingruntimes"))?;
        let serving =
            |name: Option<String>, of_cluster, spec| Serving { name: name.unwrap_or_default(), of_cluster, spec };
        let own = own.items.into_iter().map(|r| serving(r.metadata.name, false, r.spec));
        Ok(own.chain(all.items.into_iter().map(|r| serving(r.metadata.name, true, r.spec))).collect())
    }

    /// Applies an InferenceService. Without `force`, fields that somebody else owns are a failure that names the owner.
    pub(super) async fn apply(
        &self,
        namespace: &str,
        object: &Value,
        force: bool,
        dry_run: bool,
    ) -> Result<(), Failure> {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        let api = self.services_in(namespace);
        if !dry_run {
            return kfops_kube::apply(&api, name, object, force).await.map(|_| ());
        }
        let parameters = PatchParams { force, dry_run: true, ..PatchParams::apply(kfops_kube::FIELD_MANAGER) };
        let answer = api.patch(name, &parameters, &Patch::Apply(object)).await;
        answer.map(|_| ()).map_err(|error| kfops_kube::failure(&error, &format!("inferenceservices/{name}")))
    }

    /// Deletes an InferenceService and waits for its end. What is not there is deleted already.
    pub(super) async fn delete(&self, namespace: &str, name: &str, patience: Duration) -> Result<(), Failure> {
        let resource = format!("inferenceservices/{name}");
        let api = self.services_in(namespace);
        if kfops_kube::optional(api.delete(name, &DeleteParams::background()).await, &resource)?.is_none() {
            return Ok(());
        }
        self.gone(namespace, name, patience).await
    }

    /// Waits until an InferenceService that somebody deletes is gone.
    pub(super) async fn gone(&self, namespace: &str, name: &str, patience: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + patience;
        loop {
            let Some(found) = self.get(namespace, name).await? else { return Ok(()) };
            if !found.is_going() {
                // Made anew in the meantime.
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Failure::new(Reason::ClusterRefused, super::state::going(&found))
                    .on(format!("inferenceservices/{name}"))
                    .action("look whether KServe's controller runs: it ends what the finalizers wait for"));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub(super) async fn virtual_service(&self, service: &ServiceName) -> Result<Option<VirtualService>, Failure> {
        let api: Api<VirtualService> = Api::namespaced(self.client.clone(), &service.namespace);
        let name = route(&service.name);
        kfops_kube::optional(api.get(&name).await, &format!("virtualservices/{name}"))
    }
}
