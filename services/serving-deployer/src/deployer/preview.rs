//! What a rollout would be, without one.

use kfops_core::{Failure, Reason};

use super::{Deployer, promote::locked};
use crate::{
    model,
    rollout::{Request, Rollout, endpoint},
    source,
};

impl Deployer {
    /// The rollout as it would begin, its manifest rendered. Keeps nothing and starts nothing but the sandbox of a
    /// deployment function. A model whose files are gone is the rollout's failure: the manifest is worth seeing all
    /// the same.
    pub async fn preview(&self, id: String, request: Request) -> Result<Rollout, Failure> {
        let _turn = self.previews.acquire().await.map_err(Failure::internal)?;
        let shared = &self.shared;
        let mut rollout = Rollout::new(id, request, None, shared.ports.clock.now());
        let name = &rollout.request.service;
        match shared.services.get(&name.to_string()).await {
            Ok(service) if service.shuts_out(rollout.request.fence) => {
                return Err(locked(&service, rollout.request.fence));
            }
            Ok(service) => rollout.previous = service.live,
            Err(failure) if failure.reason == Reason::NotFound => {}
            Err(failure) => return Err(failure),
        }
        let prepared = source::prepare(&shared.ports, &rollout, None, &shared.settings.state).await?;
        rollout.endpoint = endpoint(&shared.ports.router.base_url(name), name, prepared.predictor.protocol);
        rollout.manifest = prepared.manifest;
        rollout.failure = model::present(&shared.ports.store, &rollout.request.model, &rollout.request.run).await.err();
        // Nothing was made that could be told from another.
        rollout.uid.clear();
        Ok(rollout)
    }
}
