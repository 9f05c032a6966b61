//! Makes router and servers follow what the table says about an InferenceService.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use kfops_core::Failure;
use kfops_resource::Table;

use crate::{
    model,
    ports::{Ports, Server, Target},
    service::{InferenceService, RevisionKey, ServiceName},
};

/// Longest pause before a live revision that keeps dying is started again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Follows the table.
pub(crate) struct Traffic {
    services: Table<InferenceService>,
    ports: Ports,
    locks: Mutex<HashMap<ServiceName, Arc<tokio::sync::Mutex<()>>>>,
    restarts: Mutex<HashMap<RevisionKey, (u32, SystemTime)>>,
    /// Why live revisions do not answer, as of the last look.
    unanswered: Mutex<HashMap<RevisionKey, String>>,
}

impl Traffic {
    pub(crate) fn new(services: Table<InferenceService>, ports: Ports) -> Self {
        Self { services, ports, locks: Mutex::default(), restarts: Mutex::default(), unanswered: Mutex::default() }
    }

    /// Makes the route of one service what the table says, as far as servers are ready.
    pub(crate) async fn follow(&self, name: &ServiceName) -> Result<(), Failure> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(locks.entry(name.clone()).or_default())
        };
        let _turn = lock.lock().await;
        let service = self.services.get(&name.to_string()).await?;
        let mut targets = Vec::new();
        for revision in service.revisions.iter().filter(|r| r.state.reachable()) {
            let Some(percent) = revision.percent else { continue };
            let key = RevisionKey { namespace: name.namespace.clone(), revision: revision.name.clone() };
            if let Server::Ready(authority) = self.ports.runtime.observe(&key).await {
                targets.push(Target { revision: revision.name.clone(), authority, weight: u32::from(percent) });
            }
        }
        give_the_rest(&mut targets, &service.live);
        self.ports.router.apply(name, &targets).await
    }

    /// Starts every live revision that does not run, and routes what is ready. True when all live revisions are.
    pub(crate) async fn keep(&self) -> Result<bool, Failure> {
        let mut all_ready = true;
        for service in self.services.open_records().await? {
            let Some(live) = service.live_revision() else { continue };
            let key = RevisionKey { namespace: service.name.namespace.clone(), revision: live.name.clone() };
            let runtime = &self.ports.runtime;
            let mut trouble = match runtime.observe(&key).await {
                Server::Ready(_) => None,
                // The cluster is at it, or somebody deleted it: neither is waited for.
                Server::Starting if runtime.outlives_us() => Some(runtime.doing(&key)),
                Server::Exited(cause) if runtime.outlives_us() => Some(cause),
                Server::Absent if runtime.outlives_us() => Some("somebody deleted its InferenceService".to_owned()),
                Server::Starting => Some("its model server is starting".to_owned()),
                Server::Absent if self.may_restart(&key) => {
                    Some(self.start(&service, &key).await.unwrap_or_else(|| "its model server is starting".into()))
                }
                Server::Exited(cause) if self.may_restart(&key) => {
                    tracing::warn!(revision = %key, cause, "live model server ended, starting it again");
                    let ended = format!("its model server ended: {cause}");
                    Some(self.start(&service, &key).await.unwrap_or(ended))
                }
                // Until it may be started again, the last try says why.
                Server::Absent => Some(self.noted(&key).unwrap_or_else(|| "its model server does not run".into())),
                Server::Exited(cause) => {
                    Some(self.noted(&key).unwrap_or_else(|| format!("its model server ended: {cause}")))
                }
            };
            all_ready &= trouble.is_none() || runtime.outlives_us();
            if let Err(failure) = self.follow(&service.name).await {
                tracing::warn!(service = %service.name, %failure, "route not in force");
                trouble.get_or_insert(failure.message);
            }
            if let Err(failure) = self.ports.runtime.settle(&service).await {
                tracing::warn!(service = %service.name, %failure, "cannot be looked at");
            }
            let mut unanswered = self.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
            match trouble {
                Some(text) => _ = unanswered.insert(key, text),
                None => _ = unanswered.remove(&key),
            }
        }
        Ok(all_ready)
    }

    /// Why the live revision of a service does not answer predictions; None: it does, or nothing is live.
    pub(crate) fn trouble(&self, service: &InferenceService) -> Option<String> {
        let live = service.live_revision()?;
        let key = RevisionKey { namespace: service.name.namespace.clone(), revision: live.name.clone() };
        self.ports.router.trouble().or_else(|| self.noted(&key))
    }

    fn noted(&self, key: &RevisionKey) -> Option<String> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Gives why it did not start.
    async fn start(&self, service: &InferenceService, key: &RevisionKey) -> Option<String> {
        let live = service.live_revision()?;
        let started = async {
            model::verify(&self.ports.store, &live.model, &live.run).await?;
            self.ports.runtime.start(&service.name, live).await
        };
        let failure = started.await.err()?;
        tracing::warn!(revision = %key, %failure, "live model server not started");
        Some(format!("its model server cannot be started: {}", failure.message))
    }

    /// Pauses that double: 1 s, 2 s, 4 s, …
    fn may_restart(&self, key: &RevisionKey) -> bool {
        let now = self.ports.clock.now();
        let mut restarts = self.restarts.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, last) = restarts.entry(key.clone()).or_insert((0, SystemTime::UNIX_EPOCH));
        let pause = Duration::from_secs(1 << (*count).min(5)).min(LONGEST_PAUSE);
        let since = now.duration_since(*last).unwrap_or_default();
        if since > LONGEST_PAUSE * 4 {
            *count = 0;
        } else if since < pause {
            return false;
        }
        *count += 1;
        *last = now;
        true
    }
}

/// While nobody with a share is ready, the live revision answers, or whoever is there.
fn give_the_rest(targets: &mut [Target], live: &str) {
    if targets.iter().all(|t| t.weight == 0)
        && let Some(target) = targets.iter_mut().find(|t| t.revision == live)
    {
        target.weight = 100;
    }
}
