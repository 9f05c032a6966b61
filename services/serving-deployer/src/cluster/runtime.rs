//! A revision's server is the predictor of an InferenceService: of the one of the template's name when it is the first, of
//! one beside it otherwise.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use kfops_core::{Failure, Reason};
use serde_json::{Value, json};

use super::{
    kserve::{Kserve, Memory},
    objects::{DEPLOYMENT_MODE, InferenceService, MADE_FOR, MANAGED_BY, REVISION, SERVICE, predictor_host, service_of},
    pods,
    render::{self, Naming, Role},
    runtimes::{self, Wanted},
    state::{State, judge},
};
use crate::{
    ports::{self, Adopted, Server},
    service::{self, Predictor, Protocol, Revision, RevisionKey, ServiceName},
};

/// Between two looks at what is not ready, and at what is.
const SOON: Duration = Duration::from_millis(400);
const LATER: Duration = Duration::from_secs(3);
/// What somebody deletes is waited for so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts, looks at and ends them.
pub(super) struct Runtime(pub(super) Arc<Kserve>);

#[async_trait]
impl ports::Runtime for Runtime {
    fn check(&self, predictor: &Predictor, manifest: &str) -> Result<(), Failure> {
        if predictor.storage_uri.starts_with("file:") {
            let text =
                format!("`{}` cannot be served in a cluster: pods do not see this machine", predictor.storage_uri);
            return Err(Failure::new(Reason::TemplateInvalid, text).action("keep models in an object store"));
        }
        render::check(manifest).map(|_| ())
    }

    fn outlives_us(&self) -> bool {
        true
    }

    async fn start(&self, service: &ServiceName, revision: &Revision) -> Result<(), Failure> {
        let key = revision.key(service);
        let started = self.0.start(service, revision).await;
        self.0.revisions().remove(&key);
        if started.is_ok() {
            tracing::info!(revision = %key, "inference service applied");
        }
        started
    }

    async fn observe(&self, key: &RevisionKey) -> Server {
        let before = self.0.revisions().get(key).cloned();
        if let Some(before) = &before {
            let pause = if matches!(before.server, Server::Ready(_)) { LATER } else { SOON };
            if before.at.elapsed() < pause {
                return before.server.clone();
            }
        }
        let since = before.as_ref().and_then(|memory| memory.wrong_since);
        let memory = match self.0.look(key, since).await {
            Ok(memory) => memory,
            Err(failure) => {
                tracing::warn!(revision = %key, %failure, "cannot be looked at");
                let server = before.map_or(Server::Starting, |memory| memory.server);
                Memory { at: Instant::now(), server, wrong_since: since, doing: failure.message }
            }
        };
        let server = memory.server.clone();
        self.0.revisions().insert(key.clone(), memory);
        server
    }

    async fn stop(&self, key: &RevisionKey) {
        if let Err(failure) = self.0.stop(key).await {
            tracing::warn!(revision = %key, %failure, "not ended");
        }
        self.0.revisions().remove(key);
    }

    async fn log(&self, key: &RevisionKey) -> String {
        self.0.log(key).await.unwrap_or_else(|failure| failure.message)
    }

    fn doing(&self, key: &RevisionKey) -> String {
        self.0.revisions().get(key).map(|memory| memory.doing.clone()).unwrap_or_default()
    }

    async fn adopt(&self, service: &ServiceName) -> Result<Option<Adopted>, Failure> {
        self.0.adopt(service).await
    }

    async fn settle(&self, service: &service::InferenceService) -> Result<(), Failure> {
        self.0.settle(service).await
    }

    fn notices(&self, service: &ServiceName) -> Vec<String> {
        self.0.known(service, |known| known.notices.clone())
    }

    /// Models stay where they are.
    async fn close(&self) {}
}

impl Kserve {
    async fn start(&self, service: &ServiceName, revision: &Revision) -> Result<(), Failure> {
        let namespace = &service.namespace;
        let naming = self.naming(service, revision).await?;
        let mut named = self.get(namespace, &service.name).await?;
        if named.as_ref().is_some_and(InferenceService::is_going) {
            self.gone(namespace, &service.name, PATIENCE).await?;
            named = None;
        }
        let Some(named) = named else {
            let object = render::inference_service(service, revision, &Role::Named { new: true }, &self.settings)?;
            return self.apply(namespace, &object, false, false).await;
        };
        if named.label(REVISION) == Some(&revision.name) {
            return Ok(());
        }
        // What would be refused once the revision is live is refused now.
        let object = render::inference_service(service, revision, &Role::Named { new: false }, &self.settings)?;
        self.apply(namespace, &object, !is_ours(&named), true).await?;
        self.gone(namespace, &revision.name, PATIENCE).await?;
        let owner = named.metadata.uid.clone().unwrap_or_default();
        let object = render::inference_service(service, revision, &Role::Candidate { owner, naming }, &self.settings)?;
        self.apply(namespace, &object, false, false).await
    }

    async fn naming(&self, service: &ServiceName, revision: &Revision) -> Result<Naming, Failure> {
        let manifest = render::check(&revision.manifest)?;
        let predictor = manifest.pointer("/spec/predictor").and_then(Value::as_object).cloned().unwrap_or_default();
        let key = render::model_key(&predictor, &revision.predictor.format).unwrap_or_default();
        let model = predictor.get(&key).cloned().unwrap_or_default();
        let text = |pointer: &str| model.pointer(pointer).and_then(Value::as_str);
        let wanted = Wanted {
            runtime: text("/runtime"),
            format: &revision.predictor.format,
            version: text("/modelFormat/version"),
            protocol: match revision.predictor.protocol {
                Protocol::V1 => "v1",
                Protocol::V2 => "v2",
            },
        };
        let runtimes = self.runtimes(&service.namespace).await?;
        Ok(runtimes::naming(&runtimes::select(&runtimes, &wanted)?.spec, &service.name))
    }

    /// Where a revision is served from, and how that stands.
    async fn look(&self, key: &RevisionKey, since: Option<Instant>) -> Result<Memory, Failure> {
        let namespace = &key.namespace;
        let name = service_of(&key.revision);
        let routed = self.leg_host(namespace, name, &key.revision).await?;
        let named = self.get(namespace, name).await?.filter(|named| named.carries() == key.revision);
        let candidate = self.get(namespace, &key.revision).await?.filter(|c| c.label(SERVICE) == Some(name));
        let mut best: Option<(State, String)> = None;
        // The one of the template's name comes first, as soon as it can.
        for (found, inference_service) in [(named, name), (candidate, key.revision.as_str())] {
            let Some(found) = found else { continue };
            let host = predictor_host(namespace, inference_service);
            let seen = self.see(namespace, found).await?;
            let mut state = judge(&seen, &key.revision, self.settings.unschedulable_after.get());
            // One that has traffic keeps it while some of its pods come and go.
            if matches!(state, State::Partly(_)) && routed.as_deref() == Some(&host) {
                state = State::Ready;
            }
            let ready = state == State::Ready;
            let is_candidate = inference_service != name;
            if best.is_none() || is_candidate {
                best = Some((state, host));
            }
            if ready {
                break;
            }
        }
        let at = Instant::now();
        let memory = |server, wrong_since, doing| Memory { at, server, wrong_since, doing };
        Ok(match best {
            None => memory(Server::Absent, None, String::new()),
            Some((State::Ready, host)) => memory(Server::Ready(host), None, String::new()),
            Some((State::Partly(doing) | State::Waits(doing), _)) => memory(Server::Starting, None, doing),
            Some((State::Wrong(trouble), _)) => {
                let since = since.unwrap_or(at);
                let server = if since.elapsed() >= trouble.after {
                    Server::Exited(trouble.text.clone())
                } else {
                    Server::Starting
                };
                memory(server, Some(since), trouble.text)
            }
        })
    }

    async fn stop(&self, key: &RevisionKey) -> Result<(), Failure> {
        let (namespace, name) = (&key.namespace, service_of(&key.revision));
        let service = ServiceName { namespace: namespace.clone(), name: name.to_owned() };
        let all = self.all_of(&service).await?;
        let is = |found: &&InferenceService, wanted: &str| found.metadata.name.as_deref() == Some(wanted);
        if all.iter().any(|found| is(&found, &key.revision)) {
            self.delete(namespace, &key.revision, PATIENCE).await?;
            tracing::info!(revision = %key, "inference service deleted");
            return Ok(());
        }
        // The one of the template's name goes only if it was made for this revision and nothing followed.
        let alone = all.iter().all(|found| is(&found, name));
        if let Some(named) = all.iter().find(|found| is(found, name))
            && alone
            && named.carries() == key.revision
            && named.annotation(MADE_FOR) == Some(&key.revision)
        {
            self.delete(namespace, name, PATIENCE).await?;
            self.known(&service, |known| known.legs = None);
            tracing::info!(revision = %key, "inference service deleted");
        }
        Ok(())
    }

    async fn log(&self, key: &RevisionKey) -> Result<String, Failure> {
        let (namespace, name) = (&key.namespace, service_of(&key.revision));
        let candidate = self.get(namespace, &key.revision).await?;
        let found = match candidate {
            Some(candidate) => Some(candidate),
            None => self.get(namespace, name).await?.filter(|named| named.carries() == key.revision),
        };
        let Some(found) = found else { return Ok(String::new()) };
        let seen = self.see(namespace, found).await?;
        let newest = seen.pods.iter().max_by_key(|pod| pod.metadata.creation_timestamp.clone().map(|time| time.0));
        let Some(pod) = newest else { return Ok(String::new()) };
        let (container, previous) = pods::telling(pod);
        let pod = pod.metadata.name.as_deref().unwrap_or_default();
        Ok(self.pod_log(namespace, pod, &container, previous).await)
    }

    /// The InferenceService that is there before Kfops' first revision.
    async fn adopt(&self, service: &ServiceName) -> Result<Option<Adopted>, Failure> {
        let Some(named) = self.get(&service.namespace, &service.name).await?.filter(|named| !named.is_going()) else {
            return Ok(None);
        };
        let mode = named.status.get("deploymentMode").and_then(Value::as_str);
        let mode = mode.or_else(|| named.annotation(DEPLOYMENT_MODE)).unwrap_or("Standard");
        if !matches!(mode, "Standard" | "RawDeployment") {
            let text = format!("InferenceService {service} is there in {mode} mode, which KServe lets nobody change");
            return Err(Failure::new(Reason::ClusterRefused, text)
                .on(service.resource())
                .action("take another name in the template, or delete the InferenceService"));
        }
        let object = json!({
            "apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService",
            "metadata": {"name": service.name, "namespace": service.namespace}, "spec": named.spec});
        let predictor = named.spec.get("predictor").and_then(Value::as_object).cloned().unwrap_or_default();
        let model = predictor.values().find(|value| value.get("storageUri").is_some());
        let text = |pointer: &str| model.and_then(|m| m.pointer(pointer)).and_then(Value::as_str).unwrap_or_default();
        let protocol = if text("/protocolVersion") == "v2" { Protocol::V2 } else { Protocol::V1 };
        tracing::info!(%service, revision = named.carries(), "inference service adopted");
        Ok(Some(Adopted {
            revision: named.carries(),
            predictor: Predictor {
                format: text("/modelFormat/name").to_owned(),
                protocol,
                storage_uri: text("/storageUri").to_owned(),
            },
            manifest: crate::template::manifest(&object).unwrap_or_default(),
        }))
    }
}

/// Whether Kfops has applied it before: from then on, nobody else's fields are taken over.
pub(super) fn is_ours(named: &InferenceService) -> bool {
    named.label(MANAGED_BY.0) == Some(MANAGED_BY.1)
}
