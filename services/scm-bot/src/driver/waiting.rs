//! Waiting: for one's turn, for the target, for someone who is away.

use std::time::{Duration, SystemTime};

use kfops_core::Failure;

use super::{Driver, Flow};
use crate::{decide::current, step::Stage};

/// A command that waits longer than this for another one says so.
const TELL_AFTER: Duration = Duration::from_secs(3);

impl Driver {
    /// Until earlier commands of the pull request have ended.
    pub(super) async fn await_turn(&mut self) -> Result<Flow, Failure> {
        let stopping = self.engine.lifecycle.stopping();
        let told = self.command.posted.comment_intended;
        tokio::select! {
            () = self.turn.turn() => return Ok(Flow::On),
            () = self.cancel.cancelled() => return Ok(Flow::On),
            () = stopping.cancelled() => return Ok(Flow::Over),
            () = tokio::time::sleep(TELL_AFTER), if !told => {}
        }
        let holder = self.turn.holder();
        self.command.step_mut(Stage::Gate).message = format!("waits for {holder}, which came before");
        self.publish_progress().await?;
        Ok(Flow::On)
    }

    /// Until the lock of the target is ours.
    pub(super) async fn await_target(&mut self) -> Result<Flow, Failure> {
        let stage = current(&self.command).unwrap_or(Stage::Rollout);
        if self.target.is_none() {
            match self.target_name().await {
                Ok(name) => self.target = Some(self.engine.targets.join(&name, &self.command.id)),
                Err(failure) => return self.settle(stage, Err(failure)).await,
            }
        }
        let Some(ticket) = self.target.take() else { return Ok(Flow::On) };
        if !ticket.is_first() {
            tracing::info!(command = self.command.id, holder = ticket.holder(), "waits for the target");
            // What the gate saw may change while others deploy.
            self.gate_passed = None;
            let message = format!("waits for {}, which deploys to the same place", ticket.holder());
            self.command.step_mut(stage).message = message;
            self.publish_progress().await?;
            let stopping = self.engine.lifecycle.stopping();
            tokio::select! {
                () = ticket.turn() => {}
                () = self.cancel.cancelled() => {}
                () = stopping.cancelled() => return Ok(Flow::Over),
            }
        }
        let ours = ticket.is_first();
        self.target = Some(ticket);
        if !ours {
            return Ok(Flow::On);
        }
        self.command.target = Some(self.target_name().await?);
        self.engine.save(&mut self.command).await?;
        Ok(Flow::On)
    }

    /// Whether there is time left to wait for someone who is away.
    pub(super) fn patient(&mut self, now: SystemTime) -> bool {
        let (since, _) = *self.trouble.get_or_insert((now, Duration::ZERO));
        now.duration_since(since).is_ok_and(|waited| waited < self.engine.settings.timeouts.patience.get())
    }

    /// Waits a little, longer each time.
    pub(super) async fn pause(&mut self) -> Flow {
        let now = self.engine.clock.now();
        let (since, last) = *self.trouble.get_or_insert((now, Duration::ZERO));
        let next = (last * 2).clamp(Duration::from_millis(200), Duration::from_secs(15));
        self.trouble = Some((since, next));
        let stopping = self.engine.lifecycle.stopping();
        tokio::select! {
            () = tokio::time::sleep(next) => Flow::On,
            () = self.cancel.cancelled(), if !self.command.cancel => Flow::On,
            () = stopping.cancelled() => Flow::Over,
        }
    }
}
