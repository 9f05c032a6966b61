//! Brings things to where they belong: a live revision into the InferenceService of the template's name, what nobody needs any
//! longer out of the cluster; and tells what somebody else changed.

use std::time::{Duration, Instant};

use kfops_core::Failure;

use super::{
    drift::differences,
    kserve::Kserve,
    objects::{InferenceService, predictor_host, route as route_name},
    render::{self, Role},
    route,
    runtime::is_ours,
    state::{State, going, judge},
};
use crate::service::{self, Revision, RevisionKey, ServiceName};

/// Between two looks at a service.
const EVERY: Duration = Duration::from_secs(2);
/// An InferenceService of a revision that nobody needs goes after that: its own rollout may be at it.
const STRAY_AFTER: Duration = Duration::from_secs(60);

impl Kserve {
    pub(super) async fn settle(&self, service: &service::InferenceService) -> Result<(), Failure> {
        let name = &service.name;
        let due = self.known(name, |known| {
            let due = known.settled_at.is_none_or(|at| at.elapsed() >= EVERY);
            if due {
                known.settled_at = Some(Instant::now());
            }
            due
        });
        let Some(live) = service.live_revision().filter(|_| due) else { return Ok(()) };
        let mut notices = Vec::new();
        match self.get(&name.namespace, &name.name).await? {
            None => notices
                .push(format!("InferenceService {name} is gone: somebody deleted it; deploy again to bring it back")),
            Some(named) if named.is_going() => notices.push(going(&named)),
            Some(named) if named.carries() == live.name => self.look_at(name, live, &named, &mut notices).await?,
            Some(named) => self.take_over(name, live, &named, &mut notices).await?,
        }
        self.look_at_route(name, &mut notices).await?;
        self.remove_strays(service).await?;
        let before = self.known(name, |known| std::mem::replace(&mut known.notices, notices.clone()));
        for notice in notices.iter().filter(|notice| !before.contains(notice)) {
            tracing::warn!(service = %name, notice, "not as it should be");
        }
        Ok(())
    }

    /// The InferenceService of the template's name has the live revision: is it as applied, and does it have the traffic?
    async fn look_at(
        &self,
        name: &ServiceName,
        live: &Revision,
        named: &InferenceService,
        notices: &mut Vec<String>,
    ) -> Result<(), Failure> {
        if is_ours(named) {
            let applied = render::inference_service(name, live, &Role::Named { new: false }, &self.settings)?;
            let drift = differences(&applied, named).into_iter();
            notices.extend(drift.map(|text| format!("InferenceService {}: {text}", name.name)));
        }
        let Some(candidate) = self.get(&name.namespace, &live.name).await? else { return Ok(()) };
        let has_traffic = self.leg_host(&name.namespace, &name.name, &live.name).await?
            == Some(predictor_host(&name.namespace, &name.name));
        let host = predictor_host(&name.namespace, &live.name);
        if has_traffic && !candidate.is_going() && self.is_quiet(&host).await {
            self.delete(&name.namespace, &live.name, Duration::ZERO).await.ok();
            tracing::info!(service = %name, revision = live.name, "served by the InferenceService of the service's name");
            return Ok(());
        }
        if candidate.is_going() {
            if candidate.metadata.deletion_timestamp.as_ref().is_some_and(is_long_ago) {
                notices.push(going(&candidate));
            }
            return Ok(());
        }
        let seen = self.see(&name.namespace, named.clone()).await?;
        if let State::Wrong(trouble) = judge(&seen, &live.name, self.settings.unschedulable_after.get()) {
            let text = trouble.text;
            notices.push(format!(
                "{} stays on InferenceService {}: {name} does not come up: {text}",
                live.name, live.name
            ));
        }
        Ok(())
    }

    /// Gives the live revision to the InferenceService of the template's name, once that one has no traffic.
    async fn take_over(
        &self,
        name: &ServiceName,
        live: &Revision,
        named: &InferenceService,
        notices: &mut Vec<String>,
    ) -> Result<(), Failure> {
        let legs = self.legs(name).await?;
        let host = predictor_host(&name.namespace, &name.name);
        let candidate = predictor_host(&name.namespace, &live.name);
        let served = legs.iter().any(|leg| leg.revision == live.name && leg.host == candidate && leg.weight == 100);
        if !served {
            if legs.iter().all(|leg| leg.revision != live.name) {
                let text =
                    format!("InferenceService {name} serves {}, but {} should be live", named.carries(), live.name);
                notices.push(text);
            }
            return Ok(());
        }
        if legs.iter().any(|leg| leg.host == host) || !self.is_quiet(&host).await {
            return Ok(());
        }
        let object = render::inference_service(name, live, &Role::Named { new: false }, &self.settings)?;
        match self.apply(&name.namespace, &object, !is_ours(named), false).await {
            Ok(()) => {
                tracing::info!(service = %name, revision = live.name, "given to the InferenceService of the service's name")
            }
            Err(failure) => notices.push(format!("{} stays on InferenceService {}: {failure}", live.name, live.name)),
        }
        self.revisions().remove(&RevisionKey { namespace: name.namespace.clone(), revision: live.name.clone() });
        Ok(())
    }

    async fn look_at_route(&self, name: &ServiceName, notices: &mut Vec<String>) -> Result<(), Failure> {
        let Some(legs) = self.known(name, |known| known.legs.clone()).filter(|legs| !legs.is_empty()) else {
            return Ok(());
        };
        let Some(found) = self.virtual_service(name).await? else {
            notices
                .push(format!("VirtualService {} was deleted by somebody; it is made again", route_name(&name.name)));
            self.known(name, |known| known.legs = None);
            return Ok(());
        };
        let (applied, _) = route::virtual_service(&self.settings, name, &legs, self.predict_timeout, None);
        let found = InferenceService { metadata: found.metadata, spec: found.spec, ..InferenceService::default() };
        // A change of Kfops' own may be under way.
        if self.known(name, |known| known.legs.as_ref() == Some(&legs)) {
            let drift = differences(&applied, &found).into_iter();
            notices.extend(drift.map(|text| format!("VirtualService {}: {text}", route_name(&name.name))));
        }
        Ok(())
    }

    /// Ends what a process that died left behind.
    async fn remove_strays(&self, service: &service::InferenceService) -> Result<(), Failure> {
        let name = &service.name;
        for found in self.all_of(name).await? {
            let revision = found.metadata.name.clone().unwrap_or_default();
            let needed = |r: &Revision| r.state.reachable() || r.name == service.live;
            if revision == name.name || found.is_going() || service.revision(&revision).is_some_and(needed) {
                continue;
            }
            let host = predictor_host(&name.namespace, &revision);
            let routed = self.legs(name).await?.iter().any(|leg| leg.host == host);
            let since = *self.left().entry(host).or_insert_with(Instant::now);
            if !routed && since.elapsed() > STRAY_AFTER + self.drain_timeout {
                tracing::info!(service = %name, revision, "inference service that nobody needs deleted");
                self.delete(&name.namespace, &revision, Duration::ZERO).await.ok();
            }
        }
        Ok(())
    }
}

fn is_long_ago(time: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Time) -> bool {
    let age = k8s_openapi::jiff::Timestamp::now().duration_since(time.0);
    age.as_secs() > 30
}
