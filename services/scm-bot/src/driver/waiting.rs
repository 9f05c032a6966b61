//! Waiting: for one's turn, for the lock of the target, for someone who is away.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use kfops_core::{Failure, Reason};
use tokio::time::Instant;

use super::{Done, Driver, Flow};
use crate::{command::Wait, decide::current, ports::Claim, report, step::Stage};

/// A command that waits longer than this for another one says so.
const TELL_AFTER: Duration = Duration::from_secs(3);
/// How often a waiting command looks at the lock, should nobody tell it that it is free.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

impl Driver {
    /// Until earlier commands of the pull request have ended.
    pub(super) async fn await_turn(&mut self) -> Result<Flow, Failure> {
        let stopping = self.engine.lifecycle.stopping();
        let wish = Arc::clone(&self.wish);
        let told = self.command.posted.comment_intended;
        let began = self.begin_wait();
        tokio::select! {
                    biased;
            () = self.turn.turn() => return Ok(Flow::On),
            () = wish.notified() => {
                self.hear().await?;
                return Ok(Flow::On);
            }
            () = stopping.cancelled() => return Ok(Flow::Over),
            () = tokio::time::sleep(if told { LOOK_AGAIN } else { TELL_AFTER }) => {}
        }
        let holder = self.turn.holder();
        if let Some(failure) = self.waited_too_long(&holder) {
            return self.settle(Stage::Gate, Ok(Done::No(failure))).await;
        }
        self.command.step_mut(Stage::Gate).message = report::waits_for_turn(&holder);
        self.keep_wait(began).await?;
        // The gate has not been asked yet, and strangers are not told that they wait.
        match self.writes().await {
            Ok(true) => self.publish_progress().await?,
            Ok(false) => {}
            Err(failure) => tracing::info!(command = self.command.id, %failure, "not shown that it waits"),
        }
        Ok(Flow::On)
    }

    /// Until the lock of the target is ours.
    pub(super) async fn await_target(&mut self) -> Result<Flow, Failure> {
        let engine = Arc::clone(&self.engine);
        let stage = current(&self.command).unwrap_or(Stage::Rollout);
        let target = match self.target_name().await {
            Ok(name) => name,
            Err(failure) => return self.settle(stage, Err(failure)).await,
        };
        let mut freed = engine.freed.subscribe();
        let (holder, ahead) = match engine.ledger.claim(&target, &self.command.id, engine.clock.now()).await? {
            Claim::Held(fence) => {
                let changed = self.command.fence != fence || self.command.target.as_ref() != Some(&target);
                if self.lost_lock(fence) {
                    return Ok(Flow::On);
                }
                self.holds_target = true;
                self.command.wait = None;
                (self.command.target, self.command.fence) = (Some(target), fence);
                if changed {
                    engine.save(&mut self.command).await?;
                }
                return Ok(Flow::On);
            }
            Claim::Waiting { holder, ahead } => (holder, ahead),
        };
        if self.lost_lock(0) {
            return Ok(Flow::On);
        }
        // A process that was started meanwhile has not seen yet how long it may wait.
        if self.look.is_none() && self.command.wait.is_none() {
            self.fresh_look().await.ok();
        }
        let began = self.begin_wait();
        if let Some(failure) = self.waited_too_long(&holder) {
            return self.settle(stage, Ok(Done::No(failure))).await;
        }
        tracing::info!(command = self.command.id, holder, ahead, "waits for the target");
        // What the gate saw may change while others deploy.
        self.gate_passed = None;
        let merges = self.command.verb.merges() && !self.command.options().force && self.merged_by(&holder).await;
        self.command.step_mut(stage).message = report::waits_for_target(&holder, ahead, merges);
        self.keep_wait(began).await?;
        self.publish_progress().await?;
        let stopping = engine.lifecycle.stopping();
        let wish = Arc::clone(&self.wish);
        tokio::select! {
                    biased;
            _ = freed.changed() => {}
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = wish.notified() => self.hear().await?,
            () = stopping.cancelled() => return Ok(Flow::Over),
        }
        Ok(Flow::On)
    }

    /// Whether another command of this repository ends in a merge.
    async fn merged_by(&self, id: &str) -> bool {
        let other = self.engine.ledger.get(id).await;
        other.is_ok_and(|other| other.verb.merges() && other.repository == self.command.repository)
    }

    /// Whether somebody took the lock away in the middle of the rollout; then it is ended.
    fn lost_lock(&mut self, fence: u64) -> bool {
        let lost = self.command.step(Stage::Rollout).is_some_and(|step| step.start.is_some())
            && self.command.fence != 0
            && self.command.fence != fence
            && !self.command.cancel
            && !self.command.progress(Stage::Rollout).done();
        if lost {
            self.command.cancel = true;
            self.command.canceled_by = "the lock of its target was taken from it".to_owned();
        }
        lost
    }

    /// Looks whether the lock is still ours, just before something that others would notice.
    pub(super) async fn still_ours(&mut self) -> Result<(), Failure> {
        let Some(target) = self.command.target.clone() else { return Ok(()) };
        let claim = self.engine.ledger.claim(&target, &self.command.id, self.engine.clock.now()).await?;
        if claim != Claim::Held(self.command.fence) && !self.command.cancel {
            self.command.cancel = true;
            self.command.canceled_by = "the lock of its target was taken from it".to_owned();
        }
        Ok(())
    }

    /// From now on it waits, unless it did already; whether that is new.
    fn begin_wait(&mut self) -> bool {
        if self.command.wait.is_some() {
            return false;
        }
        let limit = self.base().ok().flatten().map(|project| project.timeouts).unwrap_or_default().wait.get();
        self.command.wait = Some(Wait { since: self.engine.clock.now(), limit });
        true
    }

    /// Keeps since when it waits, and for whom.
    async fn keep_wait(&mut self, began: bool) -> Result<(), Failure> {
        if began {
            self.engine.save(&mut self.command).await?;
        }
        Ok(())
    }

    /// Waiting has an end too.
    fn waited_too_long(&self, holder: &str) -> Option<Failure> {
        let Wait { since, limit } = self.command.wait?;
        // A clock that was set back does not end it.
        let waited = self.engine.clock.now().duration_since(since).unwrap_or_default();
        (waited > limit).then(|| {
            let limit = humantime::format_duration(limit);
            Failure::new(Reason::DeadlineExceeded, format!("waited longer than {limit} for {holder}"))
                .on(format!("commands/{holder}"))
                .action("/cancel that one or /unlock its target, or allow more under timeouts.wait of kfops.yaml")
        })
    }

    /// A rollout that was begun is not given up before its time is over: it would go on without its lock.
    pub(super) fn must_see_the_end(&self, stage: Stage, now: SystemTime) -> bool {
        let Some(start) = self.command.step(Stage::Rollout).and_then(|step| step.start) else { return false };
        let limit = self.project.as_ref().map(|project| project.timeouts.rollout.get());
        let limit = limit.unwrap_or_else(|| kfops_project::Timeouts::default().rollout.get());
        stage == Stage::Rollout && now.duration_since(start).is_ok_and(|passed| passed < limit)
    }

    /// Whether there is time left to wait for someone who is away. Not by the clock: one that jumps must not end it.
    pub(super) fn patient(&mut self) -> bool {
        let (since, _) = *self.trouble.get_or_insert((Instant::now(), Duration::ZERO));
        since.elapsed() < self.engine.settings.timeouts.patience.get()
    }

    /// Waits a little, longer each time.
    pub(super) async fn pause(&mut self) -> Flow {
        let (since, last) = *self.trouble.get_or_insert((Instant::now(), Duration::ZERO));
        let next = (last * 2).clamp(Duration::from_millis(200), Duration::from_secs(15));
        self.trouble = Some((since, next));
        let stopping = self.engine.lifecycle.stopping();
        let wish = Arc::clone(&self.wish);
        tokio::select! {
                    biased;
            () = tokio::time::sleep(next) => Flow::On,
            () = wish.notified() => {
                if let Err(failure) = self.hear().await {
                    tracing::warn!(command = self.command.id, %failure, "not heard");
                    wish.notify_one();
                }
                Flow::On
            }
            () = stopping.cancelled() => Flow::Over,
        }
    }
}
