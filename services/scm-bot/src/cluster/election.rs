//! A Lease (coordination.k8s.io/v1) says which replica drives. Whoever holds it renews it; whoever could not for a while takes
//! it for lost, before another one may take it. Only durations are compared, never the clocks of two machines.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kfops_core::{Clock, Failure};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ObjectMeta, PostParams},
};
use tokio::{sync::watch, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    access::{changed, exists, failed, gone},
    term::Term,
    times::millis,
};
use crate::ports::{Election, Standing};

/// Name of the Lease.
const NAME: &str = "kfops-scm-bot";
/// Its annotation with the holder's term: `leaseTransitions` begins anew with a Lease that was deleted.
const TERM: &str = "kfops.dev/term";

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How long a Lease that is not renewed is respected.
    pub duration: Duration,
    /// After how long without success its holder gives up; shorter than `duration`.
    pub deadline: Duration,
    /// How often it is renewed.
    pub renew: Duration,
    /// How often others look at it, and a renewal that failed is tried again.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            deadline: Duration::from_secs(10),
            renew: Duration::from_secs(5),
            retry: Duration::from_secs(1),
        }
    }
}

/// The election over a Lease.
pub struct LeaseElection {
    candidate: Arc<Candidate>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<Option<Lease>>>>,
}

struct Candidate {
    leases: Api<Lease>,
    identity: String,
    clock: Arc<dyn Clock>,
    term: Term,
    timing: Timing,
}

/// A Lease of somebody else, and until when it is respected if it stays like that.
struct Observed {
    resource_version: String,
    until: Instant,
}

impl LeaseElection {
    /// `identity`: of this process, never that of another one, not even of an earlier one in the same pod.
    #[must_use]
    pub fn new(client: &Client, identity: String, clock: Arc<dyn Clock>, term: Term, timing: Timing) -> Self {
        let leases = Api::default_namespaced(client.clone());
        let candidate = Arc::new(Candidate { leases, identity, clock, term, timing });
        Self { candidate, stop: CancellationToken::new(), task: Mutex::default() }
    }
}

#[async_trait]
impl Election for LeaseElection {
    fn campaign(&self) -> watch::Receiver<Standing> {
        let (standing, receiver) = watch::channel(Standing::Waits);
        let (candidate, stop) = (Arc::clone(&self.candidate), self.stop.clone());
        let task = tokio::spawn(async move { candidate.run(&standing, &stop).await });
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        receiver
    }

    async fn resign(&self) {
        self.stop.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(task) = task else { return };
        if let Ok(Some(held)) = task.await {
            self.candidate.release(held).await;
        }
    }
}

impl Candidate {
    /// The Lease, if it is held when `stop` comes.
    async fn run(&self, standing: &watch::Sender<Standing>, stop: &CancellationToken) -> Option<Lease> {
        let (mut held, mut good) = stop.run_until_cancelled(self.wait()).await?;
        let term = term(&held);
        self.term.begin(term);
        tracing::info!(identity = self.identity, term, "this replica drives");
        standing.send_replace(Standing::Drives);
        loop {
            let renewal = good + self.timing.renew;
            if stop.run_until_cancelled(tokio::time::sleep_until(renewal)).await.is_none() {
                return Some(held);
            }
            match self.renew(&mut held, good).await {
                Some(at) => good = at,
                None => break,
            }
        }
        self.term.end();
        tracing::error!(identity = self.identity, term, "the Lease is lost: another replica drives from now on");
        standing.send_replace(Standing::Lost);
        None
    }

    /// Until the Lease is ours; the time from which it is certain.
    async fn wait(&self) -> (Lease, Instant) {
        let (mut observed, mut away): (Option<Observed>, _) = (None, false);
        loop {
            let asked = Instant::now();
            let taken = tokio::time::timeout(self.timing.renew, self.try_to_take(&mut observed)).await;
            match taken {
                Ok(Ok(Some(lease))) => return (lease, asked),
                Ok(Ok(None)) => away = false,
                Ok(Err(failure)) if !std::mem::replace(&mut away, true) => {
                    tracing::warn!(%failure, "who drives cannot be seen; tried again");
                }
                Ok(Err(_)) | Err(_) => {}
            }
            let (now, next) = (Instant::now(), Instant::now() + self.timing.retry);
            let until = observed.as_ref().map(|observed| observed.until).filter(|until| *until > now);
            tokio::time::sleep_until(until.map_or(next, |until| until.min(next))).await;
        }
    }

    /// Takes a Lease that nobody holds, or that its holder has not renewed for as long as it lasts.
    async fn try_to_take(&self, observed: &mut Option<Observed>) -> Result<Option<Lease>, Failure> {
        let name = format!("leases/{NAME}");
        let wrong = |error: &kube::Error| failed(error, &name);
        let post = PostParams::default();
        let mut lease = match self.leases.get(NAME).await {
            Ok(lease) => lease,
            Err(error) if gone(&error) => {
                let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
                let mut lease = Lease { metadata, spec: None };
                self.claim(&mut lease);
                return match self.leases.create(&post, &lease).await {
                    Ok(lease) => Ok(Some(lease)),
                    Err(error) if exists(&error) => Ok(None),
                    Err(error) => Err(wrong(&error)),
                };
            }
            Err(error) => return Err(wrong(&error)),
        };
        let resource_version = lease.resource_version().unwrap_or_default();
        let free = holder(&lease).is_none_or(|holder| *holder == self.identity);
        let seen = match observed {
            Some(seen) if seen.resource_version == resource_version => seen,
            other => {
                let lasts = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
                let lasts = lasts.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
                let until = Instant::now() + lasts.unwrap_or_default().max(self.timing.duration);
                other.insert(Observed { resource_version, until })
            }
        };
        if !free && Instant::now() < seen.until {
            return Ok(None);
        }
        self.claim(&mut lease);
        match self.leases.replace(NAME, &post, &lease).await {
            Ok(lease) => Ok(Some(lease)),
            Err(error) if changed(&error) || gone(&error) => Ok(None),
            Err(error) => Err(wrong(&error)),
        }
    }

    /// Writes this process into a Lease, under a higher term than any before.
    fn claim(&self, lease: &mut Lease) {
        let term = term(lease).saturating_add(1).max(millis(self.clock.now()));
        lease.annotations_mut().insert(TERM.to_owned(), term.to_string());
        let now = self.now();
        let spec = lease.spec.get_or_insert_default();
        let again = spec.holder_identity.as_ref() == Some(&self.identity);
        let transitions = spec.lease_transitions.map_or(0, |transitions| transitions + i32::from(!again));
        *spec = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(seconds(self.timing.duration)),
            acquire_time: now.clone(),
            renew_time: now,
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        };
    }

    /// Since when it is certain again; None: it is lost, or was not renewed in time.
    async fn renew(&self, held: &mut Lease, good: Instant) -> Option<Instant> {
        let deadline = good + self.timing.deadline;
        loop {
            let asked = Instant::now();
            if asked >= deadline {
                return None;
            }
            let mut lease = held.clone();
            if let Some(spec) = &mut lease.spec {
                spec.renew_time = self.now();
            }
            let until = deadline.min(asked + self.timing.renew);
            let post = PostParams::default();
            match tokio::time::timeout_at(until, self.leases.replace(NAME, &post, &lease)).await {
                Ok(Ok(lease)) => {
                    *held = lease;
                    return Some(asked);
                }
                Ok(Err(error)) if changed(&error) || gone(&error) => {
                    match tokio::time::timeout_at(until, self.leases.get(NAME)).await {
                        // An answer that was lost, or somebody's label.
                        Ok(Ok(now)) if holder(&now) == Some(&self.identity) && term(&now) == term(held) => *held = now,
                        Ok(Ok(_)) => return None,
                        // Somebody deleted it: others may have it any moment.
                        Ok(Err(error)) if gone(&error) => return None,
                        Ok(Err(_)) | Err(_) => {}
                    }
                }
                Ok(Err(error)) => tracing::warn!(%error, "the Lease was not renewed; tried again"),
                Err(_) => tracing::warn!("the Lease was not renewed in time; tried again"),
            }
            tokio::time::sleep_until(deadline.min(Instant::now() + self.timing.retry)).await;
        }
    }

    /// Lets others take it at once.
    async fn release(&self, mut lease: Lease) {
        self.term.end();
        let Some(spec) = &mut lease.spec else { return };
        (spec.holder_identity, spec.lease_duration_seconds) = (None, Some(1));
        let post = PostParams::default();
        let released = self.leases.replace(NAME, &post, &lease);
        match tokio::time::timeout(self.timing.renew, released).await {
            Ok(Ok(_)) => tracing::info!(identity = self.identity, "the Lease is released"),
            Ok(Err(error)) => tracing::warn!(%error, "the Lease was not released; it runs out"),
            Err(_) => tracing::warn!("the Lease was not released in time; it runs out"),
        }
    }

    fn now(&self) -> Option<MicroTime> {
        Timestamp::try_from(self.clock.now()).ok().map(MicroTime)
    }
}

fn holder(lease: &Lease) -> Option<&String> {
    lease.spec.as_ref()?.holder_identity.as_ref().filter(|holder| !holder.is_empty())
}

fn term(lease: &Lease) -> i64 {
    lease.annotations().get(TERM).and_then(|term| term.parse().ok()).unwrap_or(0)
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs().max(1)).unwrap_or(i32::MAX)
}
