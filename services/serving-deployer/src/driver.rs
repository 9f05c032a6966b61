//! Drives one rollout to its end: observe, decide (`plan::next`), act.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use kfops_core::{Failure, Reason};
use kfops_resource::Table;
use tokio_util::sync::CancellationToken;

use crate::{
    Settings,
    driver::stages::shut_out,
    gate::{self, Verdict},
    model,
    plan::{self, Action, World},
    ports::{Ports, Server},
    rollout::{Rollout, Stage},
    service::InferenceService,
    source::{self, Prepared},
    traffic::Traffic,
    watch::Watch,
};

mod cancels;
mod keep;
mod prove;
mod stages;

pub(crate) use cancels::Cancels;

const TICK: Duration = Duration::from_millis(100);
const LOG_EVERY: Duration = Duration::from_secs(5);
/// A database that refuses as often as this is not waited for any longer.
const STORE_TRIES: u32 = 3;
/// A router that hangs is noticed and started again within so many tries, each of which may take five seconds or more.
const ROUTE_TRIES: u32 = 6;
/// A second each: an API server that is started again takes some.
const CLUSTER_TRIES: u32 = 30;
/// Undoing and draining are tried so often before the rollout ends without them.
const TRIES: u32 = 10;

/// What drivers share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) ports: Ports,
    pub(crate) rollouts: Table<Rollout>,
    pub(crate) services: Table<InferenceService>,
    pub(crate) traffic: Traffic,
    pub(crate) cancels: Cancels,
}

/// Drives one rollout in this process.
pub(crate) struct Driver {
    pub(crate) shared: Arc<Shared>,
    id: String,
    prepared: Option<Prepared>,
    stage: (Stage, SystemTime),
    watch: Option<Watch>,
    logged: SystemTime,
    tries: u32,
    cancel: CancellationToken,
    /// The database refuses for so long that the rollout is undone without it; it is told when it takes things again.
    unkept: bool,
}

impl Driver {
    /// `cancel` says early what the rollout's record says too: someone wants it to end.
    pub(crate) fn new(shared: Arc<Shared>, id: String, cancel: CancellationToken) -> Self {
        let never = SystemTime::UNIX_EPOCH;
        let stage = (Stage::Ended, never);
        Self { shared, id, prepared: None, stage, watch: None, logged: never, tries: 0, cancel, unkept: false }
    }

    /// Until the rollout has ended or the service stops; then it is resumed by the next process.
    pub(crate) async fn run(mut self, stopping: CancellationToken) {
        while !stopping.is_cancelled() {
            match self.step().await {
                Ok(true) => return,
                Ok(false) => self.tries = 0,
                // Its children are going: the next process looks at it afresh.
                Err(_) if stopping.is_cancelled() => return,
                Err(failure) => {
                    tracing::warn!(rollout = self.id, reason = %failure.reason, %failure, "rollout step failed");
                    if let Err(failure) = self.after_failure(failure).await {
                        tracing::error!(rollout = self.id, %failure, "rollout cannot be kept");
                    }
                    tokio::select! {
                        () = tokio::time::sleep(TICK * 10) => {}
                        () = self.cancel.cancelled(), if !self.cancel.is_cancelled() => {}
                    }
                }
            }
        }
    }

    /// True when there is nothing more to do.
    async fn step(&mut self) -> Result<bool, Failure> {
        let rollout = self.shared.rollouts.get(&self.id).await?;
        if self.stage.0 != rollout.stage {
            self.stage = (rollout.stage, self.now());
            self.watch = None;
        }
        if !rollout.revision.is_empty() && !matches!(rollout.stage, Stage::Restore | Stage::Drain | Stage::Ended) {
            self.shared.traffic.follow(&rollout.request.service).await?;
        }
        let world = self.observe(&rollout).await?;
        let action = plan::next(&rollout, &world);
        if !matches!(action, Action::Wait | Action::Watch) {
            tracing::debug!(rollout = self.id, stage = ?rollout.stage, ?action, "rollout");
        }
        if action == Action::End {
            return Ok(true);
        }
        if action.can_be_dropped() && rollout.stage != Stage::Drain {
            let cancel = self.cancel.clone();
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(false),
                done = self.act(&rollout, action) => done?,
            }
        } else {
            self.act(&rollout, action).await?;
        }
        if !rollout.revision.is_empty() && self.since(self.logged) > LOG_EVERY {
            self.logged = self.now();
            self.put_log(&rollout).await;
        }
        Ok(false)
    }

    async fn observe(&self, rollout: &Rollout) -> Result<World, Failure> {
        let ports = &self.shared.ports;
        let mut world = World {
            new: Server::Absent,
            live: None,
            share: None,
            doing: String::new(),
            verdict: self.watch.as_ref().map_or(Verdict::Hold, |watch| watch.verdict.clone()),
            elapsed: self.since(self.stage.1),
            ready_timeout: self.shared.settings.ready_timeout.get(),
        };
        if !rollout.revision.is_empty() {
            world.new = ports.runtime.observe(&rollout.key()).await;
            world.doing = ports.runtime.doing(&rollout.key());
            let service = self.service(rollout).await?;
            world.share = service.revision(&rollout.revision).and_then(|r| r.percent);
        }
        if !rollout.previous.is_empty() {
            world.live = Some(ports.runtime.observe(&rollout.key_of(&rollout.previous)).await);
        }
        Ok(world)
    }

    async fn act(&mut self, rollout: &Rollout, action: Action) -> Result<(), Failure> {
        match action {
            Action::Begin => self.begin(rollout).await,
            Action::Admit => self.admit(rollout).await,
            Action::Start => {
                let service = self.service(rollout).await?;
                let revision = service.revision(&rollout.revision).ok_or_else(|| Failure::internal("no revision"))?;
                model::verify(&self.shared.ports.store, &revision.model, &revision.run).await?;
                self.shared.ports.runtime.start(&rollout.request.service, revision).await
            }
            Action::Wait => {
                let doing = self.shared.ports.runtime.doing(&rollout.key());
                let noted = rollout.steps.last().is_some_and(|step| step.message == doing);
                if rollout.stage == Stage::Revision && !doing.is_empty() && !noted {
                    self.change(move |r, now| r.note(doing, None, now)).await?;
                }
                tokio::time::sleep(TICK).await;
                Ok(())
            }
            Action::Shift(percent) => {
                let (revision, fence) = (rollout.revision.clone(), rollout.request.fence);
                let shift = move |service: &mut InferenceService| {
                    if !service.shuts_out(fence) {
                        service.shift(&revision, percent);
                    }
                };
                let service = self.change_service(rollout, shift).await?;
                shut_out(&service, fence)?;
                self.watch = None;
                self.shared.traffic.follow(&rollout.request.service).await
            }
            Action::Prove => {
                self.prepare(rollout).await?;
                self.prove(rollout).await
            }
            Action::Watch => {
                self.prepare(rollout).await?;
                let watch = match self.watch.take() {
                    Some(watch) => watch,
                    None => Watch::begin(&self.shared, rollout).await?,
                };
                let Some(prepared) = &self.prepared else { return Err(Failure::internal("not prepared")) };
                let (watch, note) = watch.look(&self.shared, rollout, prepared).await?;
                if note {
                    let (text, window) = (gate::describe(&watch.window), watch.window.clone());
                    self.change(move |r, now| r.note(text, Some(&window), now)).await?;
                }
                self.watch = Some(watch);
                Ok(())
            }
            Action::Advance(stage) => {
                let took = self.since(rollout.steps.last().map_or(self.stage.1, |step| step.start));
                self.change(move |r, now| {
                    if r.stage == Stage::Revision {
                        r.note(format!("ready after {:.1} s", took.as_secs_f64()), None, now);
                    }
                    r.advance(stage, now);
                })
                .await
            }
            Action::EndCanary(index, share) => self.change(move |r, now| r.end_canary(index, share, now)).await,
            Action::Promote => {
                self.change(|r, now| {
                    // Whoever cancels until now is in time.
                    if r.cancel {
                        return;
                    }
                    r.note(format!("{} gets all traffic", r.revision), None, now);
                    r.advance(Stage::Drain, now);
                })
                .await
            }
            Action::Retire => self.retire(rollout).await,
            Action::Fail(failure) => {
                let failure = self.with_log(rollout, failure).await;
                self.change(move |r, now| r.fail(failure, now)).await
            }
            Action::Restore => self.restore(rollout).await,
            Action::End => Ok(()),
        }
    }

    async fn after_failure(&mut self, failure: Failure) -> Result<(), Failure> {
        self.tries += 1;
        self.unkept |= failure.reason == Reason::StoreUnavailable && self.tries >= STORE_TRIES;
        let rollout = self.shared.rollouts.get(&self.id).await?;
        let undoing = matches!(rollout.stage, Stage::Restore | Stage::Drain);
        if self.tries >= TRIES && undoing {
            return self.give_up(&rollout, failure.message).await;
        }
        // A router that died is back in a moment; so is a database that is busy.
        let passing = match failure.reason {
            Reason::StoreUnavailable => !self.unkept,
            Reason::RouteFailed => self.tries < ROUTE_TRIES,
            Reason::ClusterUnavailable => self.tries < CLUSTER_TRIES,
            _ => false,
        };
        if undoing || passing || matches!(rollout.stage, Stage::Ended) {
            return Ok(());
        }
        let failure = Failure { message: format!("{}{}", failure.message, plan::stays(&rollout)), ..failure };
        self.change(move |r, now| r.fail(failure, now)).await
    }

    async fn prepare(&mut self, rollout: &Rollout) -> Result<(), Failure> {
        if self.prepared.is_none() {
            let service = self.service(rollout).await?;
            let known = service.revision(&rollout.revision).map(|r| r.predictor.clone());
            let state = &self.shared.settings.state;
            self.prepared = Some(source::prepare(&self.shared.ports, rollout, known, state).await?);
        }
        Ok(())
    }

    pub(crate) fn prepared(&self) -> Option<&Prepared> {
        self.prepared.as_ref()
    }
}

#[cfg(test)]
mod tests;
