//! What a driver reads and writes: the two tables, the log, the time.

use std::time::{Duration, SystemTime};

use kfops_core::Failure;

use super::Driver;
use crate::{rollout::Rollout, service::InferenceService};

impl Driver {
    /// Changes the rollout.
    pub(crate) async fn change(
        &self,
        change: impl FnOnce(&mut Rollout, SystemTime) + Send + 'static,
    ) -> Result<(), Failure> {
        let now = self.now();
        let (rollouts, change) = (&self.shared.rollouts, move |rollout: &mut Rollout| change(rollout, now));
        let changed = match self.unkept {
            true => rollouts.update_anyway(&self.id, change).await,
            false => rollouts.update(&self.id, change).await,
        };
        changed.map(|_| ())
    }

    /// Changes its InferenceService.
    pub(super) async fn change_service(
        &self,
        rollout: &Rollout,
        change: impl FnOnce(&mut InferenceService) + Send + 'static,
    ) -> Result<InferenceService, Failure> {
        let (services, name) = (&self.shared.services, rollout.request.service.to_string());
        match self.unkept {
            true => services.update_anyway(&name, change).await,
            false => services.update(&name, change).await,
        }
    }

    pub(crate) async fn service(&self, rollout: &Rollout) -> Result<InferenceService, Failure> {
        self.shared.services.get(&rollout.request.service.to_string()).await
    }

    /// With the end of the model server's log, where there is one.
    pub(crate) async fn with_log(&self, rollout: &Rollout, failure: Failure) -> Failure {
        if rollout.revision.is_empty() || !failure.log_tail.is_empty() {
            return failure;
        }
        let log = self.shared.ports.runtime.log(&rollout.key()).await;
        failure.log_tail(&log)
    }

    /// Puts the steps and the model server's log into the object store, for people.
    pub(super) async fn put_log(&self, rollout: &Rollout) {
        let mut text = String::new();
        for step in &rollout.steps {
            let state = format!("{:?}", step.state).to_lowercase();
            text += &format!("{}: {state} {}\n", step.title, step.message);
        }
        if !rollout.revision.is_empty() {
            text += &format!("\nmodel server of {}:\n", rollout.revision);
            text += &self.shared.ports.runtime.log(&rollout.key()).await;
        }
        let key = format!("logs/rollouts/{}.log", rollout.id);
        if let Err(failure) = self.shared.ports.store.put(&key, text).await {
            tracing::warn!(rollout = rollout.id, %failure, "log not kept");
        }
    }

    pub(crate) fn now(&self) -> SystemTime {
        self.shared.ports.clock.now()
    }

    pub(super) fn since(&self, time: SystemTime) -> Duration {
        self.now().duration_since(time).unwrap_or_default()
    }
}
