//! The weights, on a VirtualService of Kfops' own, and what the ingress gateway counted.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use kfops_core::{Failure, Reason};
use kube::Api;
use serde_json::json;

use super::{
    kserve::Kserve,
    objects::{AuthorizationPolicy, MANAGED_BY, VirtualService, predictor_host, route as route_name, service_of},
    prober::refusal,
    route::{self, Leg, MARK},
};
use crate::{
    gate::Counters,
    ports::{self, Probe, Prober as _, Target},
    service::{RevisionKey, ServiceName},
};

/// A change of the route is in force by then, or has failed.
const IN_FORCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);
/// Answers in a row that show the new version, per pod of the gateway: each request reaches one at random.
const ANSWERS: usize = 4;
/// The policy that lets Kfops ask models.
const POLICY: &str = "kfops-prober";

/// Shares the traffic.
pub(super) struct Router(pub(super) Arc<Kserve>);

#[async_trait]
impl ports::Router for Router {
    async fn open(&self) -> Result<(), Failure> {
        tracing::info!(
            url = self.0.prober.public(),
            gateway = self.0.settings.gateway,
            "models are answered by the mesh"
        );
        Ok(())
    }

    async fn apply(&self, service: &ServiceName, targets: &[Target]) -> Result<(), Failure> {
        self.0.route(service, targets).await
    }

    async fn drained(&self, key: &RevisionKey) -> Result<u64, Failure> {
        let service = ServiceName { namespace: key.namespace.clone(), name: service_of(&key.revision).to_owned() };
        let legs = self.0.legs(&service).await?;
        // Of one that was never there the gateway counts nothing, which would look like not being told.
        let beside = self.0.get(&key.namespace, &key.revision).await?.map(|_| key.revision.as_str());
        let names = [Some(service.name.as_str()), beside];
        let hosts = names.into_iter().flatten().map(|name| predictor_host(&key.namespace, name));
        let mut cut = 0;
        for host in hosts.filter(|host| legs.iter().all(|leg| leg.host != *host)) {
            while !self.0.is_quiet(&host).await {
                tokio::time::sleep(POLL * 2).await;
            }
            cut += self.0.scraper.count(&host).await.ok().and_then(|counted| counted.active).unwrap_or_default();
        }
        Ok(cut)
    }

    /// Each change of the route says what is wrong with the gateway.
    fn trouble(&self) -> Option<String> {
        None
    }

    async fn counters(&self, key: &RevisionKey) -> Result<Counters, Failure> {
        let name = service_of(&key.revision);
        let Some(host) = self.0.leg_host(&key.namespace, name, &key.revision).await? else {
            return Ok(Counters::default());
        };
        let counted = self.0.scraper.count(&host).await?;
        // The proof went there, so something must have been counted.
        if !counted.known && host != predictor_host(&key.namespace, name) {
            return Err(Failure::new(
                Reason::RouteFailed,
                format!("the ingress gateway's metrics say nothing about {}, so no canary can be judged", key.revision),
            )
            .action(
                "annotate the gateway's pods with sidecar.istio.io/statsInclusionPrefixes: cluster.outbound, or set \
                 kserve.metrics.prometheus",
            ));
        }
        Ok(counted.counters)
    }

    fn base_url(&self, service: &ServiceName) -> String {
        self.0.settings.public_base(service)
    }

    /// The route stays: models outlive Kfops.
    async fn close(&self) {}
}

impl Kserve {
    /// The route in force, as far as this process knows or the cluster tells.
    pub(super) async fn legs(&self, service: &ServiceName) -> Result<Vec<Leg>, Failure> {
        if let Some(legs) = self.known(service, |known| known.legs.clone()) {
            return Ok(legs);
        }
        let owner = self.get(&service.namespace, &service.name).await?.and_then(|named| named.metadata.uid);
        // One of an InferenceService that was deleted is about to follow it.
        let found = self.virtual_service(service).await?.filter(|found| {
            let mut owners = found.metadata.owner_references.iter().flatten();
            found.metadata.deletion_timestamp.is_none() && owners.all(|o| Some(&o.uid) == owner.as_ref())
        });
        let legs = found.map(|found| route::legs(&found.spec)).unwrap_or_default();
        self.known(service, |known| (known.legs, known.in_force) = (Some(legs.clone()), false));
        Ok(legs)
    }

    /// Where the route leads for a revision.
    pub(super) async fn leg_host(
        &self,
        namespace: &str,
        name: &str,
        revision: &str,
    ) -> Result<Option<String>, Failure> {
        let service = ServiceName { namespace: namespace.to_owned(), name: name.to_owned() };
        Ok(self.legs(&service).await?.into_iter().find(|leg| leg.revision == revision).map(|leg| leg.host))
    }

    async fn route(&self, service: &ServiceName, targets: &[Target]) -> Result<(), Failure> {
        if targets.is_empty() {
            // Pods that come back are reached by the route that is there.
            return Ok(());
        }
        let before = self.legs(service).await?;
        let wanted = wanted(targets, &before);
        if wanted == before && self.known(service, |known| known.in_force) {
            return Ok(());
        }
        self.policy(&service.namespace).await?;
        let owner = self.get(&service.namespace, &service.name).await?.and_then(|named| named.metadata.uid);
        let (object, version) =
            route::virtual_service(&self.settings, service, &wanted, self.predict_timeout, owner.as_deref());
        let api: Api<VirtualService> = Api::namespaced(self.client.clone(), &service.namespace);
        // It is Kfops' own: what somebody changed in it is put right by the next change.
        kfops_kube::apply(&api, &route_name(&service.name), &object, true).await?;
        // Until it is in force nothing is believed: after a failure the cluster is asked again.
        self.known(service, |known| (known.legs, known.in_force) = (None, false));
        self.in_force(service, &version, &before, &wanted).await?;
        for host in before.iter().map(|leg| &leg.host).filter(|host| wanted.iter().all(|leg| leg.host != **host)) {
            self.left().insert(host.clone(), Instant::now());
        }
        for leg in &wanted {
            self.left().remove(&leg.host);
        }
        tracing::info!(%service, legs = ?wanted, "route in force");
        self.known(service, |known| (known.legs, known.in_force) = (Some(wanted), true));
        Ok(())
    }

    /// Lets Kfops' own user ask models of a namespace.
    async fn policy(&self, namespace: &str) -> Result<(), Failure> {
        let Some(user) = &self.settings.user else { return Ok(()) };
        let object = json!({
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": POLICY, "namespace": namespace, "labels": {MANAGED_BY.0: MANAGED_BY.1}},
            "spec": {"action": "ALLOW", "rules": [{
                "from": [{"source": {"principals": [self.settings.ingress_principal]}}],
                "to": [{"operation": {"paths": ["/v1/models/*", "/v2/models/*"]}}],
                "when": [{"key": "request.headers[kubeflow-userid]", "values": [user]}]}]},
        });
        let api: Api<AuthorizationPolicy> = Api::namespaced(self.client.clone(), namespace);
        kfops_kube::apply(&api, POLICY, &object, true).await.map(|_| ())
    }

    async fn in_force(
        &self,
        service: &ServiceName,
        version: &str,
        before: &[Leg],
        wanted: &[Leg],
    ) -> Result<(), Failure> {
        let base = self.settings.public_base(service);
        let need = ANSWERS * self.scraper.pods().await.map_or(1, |pods| pods.len().max(1));
        let deadline = Instant::now() + IN_FORCE;
        let mut failure = refusal(404);
        let mut seen = 0;
        while seen < need {
            match self.ask(&format!("{base}{MARK}"), "").await {
                Ok((200, _, body)) if body.trim() == version => seen += 1,
                // The version before.
                Ok((200, ..)) => seen = 0,
                Ok((status, ..)) => (seen, failure) = (0, refusal(status)),
                Err(text) => {
                    let text = format!("the ingress gateway does not answer: {text}");
                    (seen, failure) = (0, Failure::new(Reason::RouteFailed, text).action("look at kserve.ingress"));
                }
            }
            if seen == 0 {
                if Instant::now() > deadline {
                    return Err(failure.on(format!("virtualservices/{}", route_name(&service.name))));
                }
                tokio::time::sleep(POLL).await;
            }
        }
        let new =
            wanted.iter().filter(|leg| before.iter().all(|old| old.host != leg.host || old.revision != leg.revision));
        for leg in new {
            // The gateway has the route, but may not have the pods' addresses yet.
            let url = format!("{base}/v1/models/{}", service.name);
            loop {
                match self.ask(&url, &leg.revision).await {
                    Ok((status, Some(revision), _)) if revision == leg.revision && !matches!(status, 502..=504) => {
                        break;
                    }
                    _ if Instant::now() > deadline => {
                        let text = format!("the ingress gateway does not reach revision {}", leg.revision);
                        return Err(Failure::new(Reason::RouteFailed, text).on(leg.host.clone()));
                    }
                    _ => tokio::time::sleep(POLL).await,
                }
            }
        }
        Ok(())
    }

    async fn ask(&self, url: &str, revision: &str) -> Result<(u16, Option<String>, String), String> {
        let timeout = Duration::from_secs(5);
        let probe = Probe { url: url.to_owned(), revision: revision.to_owned(), body: None, context: None, timeout };
        let answer = self.prober.send(probe).await?;
        Ok((answer.status, answer.revision, String::from_utf8_lossy(&answer.body).into_owned()))
    }

    /// Whether a host that left the route has answered all that it had begun, or has had the time for it.
    pub(super) async fn is_quiet(&self, host: &str) -> bool {
        let since = *self.left().entry(host.to_owned()).or_insert_with(Instant::now);
        if since.elapsed() >= self.drain_timeout {
            return true;
        }
        // A request may be between its route and its connection.
        since.elapsed() >= POLL * 5 && self.scraper.count(host).await.is_ok_and(|counted| counted.active == Some(0))
    }
}

/// The legs for the targets. While nobody among them has a share, who had it before keeps it.
fn wanted(targets: &[Target], before: &[Leg]) -> Vec<Leg> {
    let leg = |t: &Target| Leg { revision: t.revision.clone(), host: t.authority.clone(), weight: t.weight };
    let mut wanted: Vec<Leg> = targets.iter().map(leg).collect();
    if wanted.iter().all(|leg| leg.weight == 0) {
        for old in before.iter().filter(|leg| leg.weight > 0) {
            match wanted.iter_mut().find(|leg| leg.revision == old.revision) {
                Some(leg) => leg.weight = old.weight,
                None => wanted.push(old.clone()),
            }
        }
    }
    // One alone has everything: written as 100, so that what is read from the cluster compares equal.
    if let [only] = &mut wanted.iter_mut().filter(|leg| leg.weight > 0).collect::<Vec<_>>()[..] {
        only.weight = 100;
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(revision: &str, weight: u32) -> Target {
        Target { revision: revision.into(), authority: format!("{revision}-host"), weight }
    }

    fn leg(revision: &str, weight: u32) -> Leg {
        Leg { revision: revision.into(), host: format!("{revision}-host"), weight }
    }

    #[test]
    fn a_live_revision_whose_pods_are_down_keeps_its_share() {
        let before = [leg("iris-00001", 100)];
        assert_eq!(wanted(&[target("iris-00002", 0)], &before), [leg("iris-00002", 0), leg("iris-00001", 100)]);
        assert_eq!(wanted(&[target("iris-00001", 100)], &before), before);
        let canary = wanted(&[target("iris-00001", 90), target("iris-00002", 10)], &before);
        assert_eq!(canary, [leg("iris-00001", 90), leg("iris-00002", 10)]);
        assert_eq!(wanted(&[target("iris-00002", 10)], &canary), [leg("iris-00002", 100)], "it has all of it");
    }
}
