//! The end of a canary by request, and who may still begin a rollout: fences.

use kfops_core::{Failure, Reason};

use super::Deployer;
use crate::{
    rollout::{Request, Rollout, Stage, State},
    service::InferenceService,
};

impl Deployer {
    /// The new revision gets all traffic as soon as it is proven. Asked again, it changes nothing. What is being undone
    /// or has ended stays as it is, and that is a failure unless it has succeeded.
    pub async fn promote(&self, id: &str) -> Result<Rollout, Failure> {
        let now = self.shared.ports.clock.now();
        let rollout = self
            .shared
            .rollouts
            .update(id, move |r| {
                let canary_ahead = !matches!(r.stage, Stage::Promote | Stage::Drain | Stage::Restore | Stage::Ended);
                if canary_ahead && !r.cancel && !r.promote {
                    (r.promote, r.updated) = (true, now);
                }
            })
            .await?;
        let undone = rollout.cancel || rollout.stage == Stage::Restore;
        if !undone && (rollout.ended.is_none() || rollout.state == State::Succeeded) {
            tracing::info!(rollout = id, stage = ?rollout.stage, "promotion asked for");
            return Ok(rollout);
        }
        let (what, action) = match (rollout.ended, &rollout.failure) {
            (None, _) => ("it is being undone".to_owned(), "wait for its end, then roll out again"),
            (_, Some(failure)) => (format!("it has ended: {}", failure.message), "roll out again"),
            (_, None) => ("it has ended".to_owned(), "roll out again"),
        };
        let name = rollout.name();
        Err(Failure::new(Reason::RevisionNotReady, format!("{name} cannot be promoted: {what}"))
            .on(name)
            .action(action))
    }

    /// Keeps the fence that a new rollout comes with, before the rollout itself: from then on older ones give no traffic
    /// to their revisions. Fails for a fence that is older than one seen before.
    pub(super) async fn accept(&self, request: &Request) -> Result<(), Failure> {
        let fence = request.fence;
        if fence == 0 {
            return Ok(());
        }
        let name = request.service.clone();
        let key = name.to_string();
        self.shared.services.create(InferenceService::new(name)).await?;
        let service =
            self.shared.services.update(&key, move |service| service.fence = service.fence.max(fence)).await?;
        if service.shuts_out(fence) { Err(locked(&service, fence)) } else { Ok(()) }
    }
}

/// The failure of a rollout whose caller has lost the lock.
pub(super) fn locked(service: &InferenceService, fence: i64) -> Failure {
    let name = service.name.resource();
    let text =
        format!("another command holds the lock of {name}: its fence is {}, this rollout's is {fence}", service.fence);
    let failure = Failure::new(Reason::TargetLocked, text).on(name);
    // The lock was lost; the same fence never becomes newer.
    Failure { retryable: false, ..failure.action("wait for the other command, then give this one again") }
}
