//! Takes rollouts in and lets one at a time run per InferenceService, in the order in which they came.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::Stream;
use kfops_core::{Failure, Reason, TraceContext};
use kfops_resource::{Created, Page, Table};
use kfops_rpc::Lifecycle;
use tokio::sync::{Semaphore, watch};

use crate::{
    Ports, Settings,
    driver::{Cancels, Driver, Shared},
    rollout::{Request, Rollout, Stage, State, endpoint},
    service::{InferenceService, ServiceName},
    spans,
    traffic::Traffic,
};

mod preview;
mod promote;

/// Between two looks at the live revisions.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// Previews that are made at the same time: each unpacks a source, and may run a sandbox.
const PREVIEWS: usize = 2;

/// An InferenceService as it stands now.
#[derive(Debug, Clone)]
pub struct Seen {
    /// As it should be.
    pub service: InferenceService,
    /// Where it answers.
    pub endpoint: String,
    /// Why its live revision does not.
    pub unanswered: Option<String>,
    /// What is not as it should be, other than that.
    pub notices: Vec<String>,
}

/// The use cases. Cheap to clone.
#[derive(Clone)]
pub struct Deployer {
    shared: Arc<Shared>,
    queues: Arc<Mutex<HashMap<ServiceName, VecDeque<String>>>>,
    lifecycle: Lifecycle,
    restored: watch::Sender<bool>,
    previews: Arc<Semaphore>,
}

impl Deployer {
    /// Opens the tables.
    pub fn open(settings: Settings, ports: Ports, lifecycle: Lifecycle) -> Result<Self, Failure> {
        let database = settings.state.join("serving-deployer.db");
        let rollouts = Table::open(&database)?;
        let services: Table<InferenceService> = Table::open(&database)?;
        let traffic = Traffic::new(services.clone(), ports.clone());
        let cancels = Cancels::default();
        let shared = Arc::new(Shared { settings, ports, rollouts, services, traffic, cancels });
        Ok(Self {
            shared,
            queues: Arc::default(),
            lifecycle,
            restored: watch::channel(false).0,
            previews: Arc::new(Semaphore::new(PREVIEWS)),
        })
    }

    /// Starts what was live, then goes on with the rollouts that were open. New ones wait for that too.
    pub async fn resume(&self) -> Result<(), Failure> {
        for rollout in self.shared.rollouts.open_records().await? {
            self.move_endpoint(&rollout).await?;
            self.enqueue(&rollout.request.service, rollout.id);
        }
        let (deployer, stopping) = (self.clone(), self.lifecycle.stopping());
        self.lifecycle.spawn(async move {
            let began = tokio::time::Instant::now();
            while !stopping.is_cancelled() {
                let ready = deployer.shared.traffic.keep().await.unwrap_or_else(|failure| {
                    tracing::error!(%failure, "live revisions cannot be looked at");
                    false
                });
                // A live revision that does not come up must not keep everything from being repaired.
                let waited = began.elapsed() > deployer.shared.settings.ready_timeout.get();
                let restored = *deployer.restored.borrow();
                if !restored && (ready || waited) {
                    deployer.restored.send_replace(true);
                }
                let pause = if ready || waited { KEEP_EVERY } else { KEEP_EVERY / 10 };
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stopping.cancelled() => {}
                }
            }
        });
        Ok(())
    }

    /// Keeps a rollout; the same id and request give the same rollout.
    pub async fn create(
        &self,
        id: String,
        request: Request,
        context: Option<TraceContext>,
    ) -> Result<Rollout, Failure> {
        let now = self.shared.ports.clock.now();
        // One that exists came with its fence when it was new.
        match self.shared.rollouts.get(&id).await {
            Err(failure) if failure.reason == Reason::NotFound => self.accept(&request).await?,
            Err(failure) => return Err(failure),
            Ok(_) => {}
        }
        match self.shared.rollouts.create(Rollout::new(id, request, context, now)).await? {
            Created::Existing(rollout) => Ok(rollout),
            Created::New(rollout) => {
                tracing::info!(rollout = rollout.id, service = %rollout.request.service, "rollout accepted");
                self.enqueue(&rollout.request.service, rollout.id.clone());
                Ok(rollout)
            }
        }
    }

    /// As it stands.
    pub async fn get(&self, id: &str) -> Result<Rollout, Failure> {
        self.shared.rollouts.get(id).await
    }

    /// Newest first.
    pub async fn list(&self, page_size: i32, page_token: &str) -> Result<Page<Rollout>, Failure> {
        self.shared.rollouts.list(page_size, page_token).await
    }

    /// Whole snapshots until the last one.
    pub async fn watch(&self, id: &str) -> Result<impl Stream<Item = Rollout> + Send + 'static, Failure> {
        self.shared.rollouts.watch(id).await
    }

    /// Asks for the end of a rollout: what was live is restored. One that has ended, or is undone already, or whose
    /// revision is live already, stays as it is.
    pub async fn cancel(&self, id: &str) -> Result<Rollout, Failure> {
        let now = self.shared.ports.clock.now();
        let before = self.shared.rollouts.get(id).await?;
        let rollout = self
            .shared
            .rollouts
            .update(id, move |r| match r.stage {
                Stage::Ended | Stage::Restore | Stage::Drain => {}
                Stage::Queued => {
                    r.cancel = true;
                    r.failure = Some(Failure::new(Reason::Canceled, "canceled before it began").on(r.name()));
                    r.end(State::Canceled, now);
                }
                _ => {
                    r.cancel = true;
                    r.updated = now;
                }
            })
            .await?;
        if before.stage == Stage::Queued && rollout.stage == Stage::Ended {
            spans::record(&self.shared.ports.tracer, &rollout, now);
        }
        if rollout.cancel {
            self.shared.cancels.cancel(id);
        }
        Ok(rollout)
    }

    /// An InferenceService with its revisions, and where it answers.
    pub async fn inference_service(&self, name: &ServiceName) -> Result<Seen, Failure> {
        let missing = || {
            let name = name.resource();
            Failure::new(Reason::NotFound, format!("no {name}: nothing was rolled out to it")).on(name)
        };
        let service = match self.shared.services.get(&name.to_string()).await {
            // Only a fence was seen.
            Ok(service) if service.revisions.is_empty() => return Err(missing()),
            Err(failure) if failure.reason == Reason::NotFound => return Err(missing()),
            service => service?,
        };
        Ok(self.seen(service))
    }

    fn seen(&self, service: InferenceService) -> Seen {
        Seen {
            endpoint: self.endpoint(&service),
            unanswered: self.shared.traffic.trouble(&service),
            notices: self.shared.ports.runtime.notices(&service.name),
            service,
        }
    }

    /// All of them, newest first.
    pub async fn inference_services(&self, page_size: i32, page_token: &str) -> Result<Page<Seen>, Failure> {
        let page = self.shared.services.list(page_size, page_token).await?;
        let begun = page.items.into_iter().filter(|service| !service.revisions.is_empty());
        Ok(Page { items: begun.map(|service| self.seen(service)).collect(), next_page_token: page.next_page_token })
    }

    /// The router may answer at another address than before the restart.
    async fn move_endpoint(&self, rollout: &Rollout) -> Result<(), Failure> {
        if rollout.endpoint.is_empty() {
            return Ok(());
        }
        let name = &rollout.request.service;
        let service = self.shared.services.get(&name.to_string()).await?;
        if let Some(revision) = service.revisions.iter().find(|r| r.name == rollout.revision) {
            let url = endpoint(&self.shared.ports.router.base_url(name), name, revision.predictor.protocol);
            self.shared.rollouts.update(&rollout.id, move |r| r.endpoint = url).await?;
        }
        Ok(())
    }

    fn endpoint(&self, service: &InferenceService) -> String {
        let base = self.shared.ports.router.base_url(&service.name);
        service.live_revision().map(|live| endpoint(&base, &service.name, live.predictor.protocol)).unwrap_or_default()
    }

    fn enqueue(&self, service: &ServiceName, id: String) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = queues.get_mut(service) {
            queue.push_back(id);
            return;
        }
        queues.insert(service.clone(), VecDeque::from([id]));
        drop(queues);
        let (deployer, service) = (self.clone(), service.clone());
        self.lifecycle.spawn(async move { deployer.run_queue(&service).await });
    }

    async fn run_queue(&self, service: &ServiceName) {
        let stopping = self.lifecycle.stopping();
        let mut restored = self.restored.subscribe();
        tokio::select! {
            _ = restored.wait_for(|restored| *restored) => {}
            () = stopping.cancelled() => return,
        }
        while let Some(id) = self.next_in(service) {
            if stopping.is_cancelled() {
                return;
            }
            let cancel = self.shared.cancels.of(&id);
            Driver::new(Arc::clone(&self.shared), id.clone(), cancel).run(stopping.clone()).await;
            self.shared.cancels.forget(&id);
        }
    }

    /// The next rollout; an empty queue goes, so that the next arrival starts another runner.
    fn next_in(&self, service: &ServiceName) -> Option<String> {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let next = queues.get_mut(service).and_then(VecDeque::pop_front);
        if next.is_none() {
            queues.remove(service);
        }
        next
    }
}
