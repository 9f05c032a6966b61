//! `/status`: the commands of the pull request, the locks, what is live.

use std::sync::Arc;

use kfops_core::Failure;

use super::{Driver, same, targets};
use crate::report::{self, Place};

impl Driver {
    pub(super) async fn status(&mut self) -> Result<String, Failure> {
        let engine = Arc::clone(&self.engine);
        let history = engine.history(&self.command).await?;
        self.fresh_look().await?;
        // Without a readable file nobody knows what could be live; the rest is worth showing.
        let base = self.base();
        let locks = engine.ledger.locks().await;
        let mut places = Vec::new();
        for (environment, target) in targets(base.as_ref().ok().and_then(Option::as_ref)) {
            let lock = match &locks {
                Ok(locks) => Ok(self.held(locks, environment, &target).await),
                Err(failure) => same(failure),
            };
            let live = engine.workers.live(&target).await;
            places.push(Place { environment: environment.as_str(), lock, live });
        }
        Ok(report::status(&self.command, &history, base.as_ref().err(), &places, engine.clock.now()))
    }
}
