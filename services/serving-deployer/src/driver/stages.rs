//! The stages that begin, admit, retire, restore and end.

use std::{sync::Arc, time::Duration};

use kfops_core::{Failure, Reason};

use super::Driver;
use crate::{
    model,
    ports::Server,
    rollout::{Rollout, Stage, State, endpoint},
    service::{InferenceService, Model, Revision, RevisionKey, RevisionState},
    spans,
};

impl Driver {
    pub(super) async fn begin(&self, rollout: &Rollout) -> Result<(), Failure> {
        let name = rollout.request.service.clone();
        self.shared.services.create(InferenceService::new(name)).await?;
        let previous = self.live_before(rollout).await?;
        self.change(move |r, now| {
            // A cancel may have ended it in the meantime.
            if r.stage == Stage::Queued {
                r.state = State::Running;
                r.previous = previous;
                r.advance(Stage::Revision, now);
            }
        })
        .await
    }

    /// The revision that is live before the rollout: one that was not rolled out is adopted, one that somebody ended for
    /// good is none.
    async fn live_before(&self, rollout: &Rollout) -> Result<String, Failure> {
        let runtime = &self.shared.ports.runtime;
        let service = self.service(rollout).await?;
        if let Some(live) = service.live_revision() {
            let gone = runtime.outlives_us() && runtime.observe(&live.key(&service.name)).await == Server::Absent;
            return Ok(if gone { String::new() } else { service.live });
        }
        let Some(adopted) = runtime.adopt(&service.name).await? else { return Ok(String::new()) };
        let revision = Revision {
            name: adopted.revision,
            state: RevisionState::Ready,
            percent: Some(100),
            model: Model { uri: adopted.predictor.storage_uri.clone(), digest: String::new(), size_bytes: 0 },
            predictor: adopted.predictor,
            run: String::new(),
            rollout: String::new(),
            commit: String::new(),
            created: self.now(),
            manifest: adopted.manifest,
            context: None,
        };
        Ok(self.change_service(rollout, move |service| service.adopt(revision)).await?.live)
    }

    pub(super) async fn admit(&mut self, rollout: &Rollout) -> Result<(), Failure> {
        shut_out(&self.service(rollout).await?, rollout.request.fence)?;
        model::present(&self.shared.ports.store, &rollout.request.model, &rollout.request.run).await?;
        self.prepare(rollout).await?;
        let Some(prepared) = &self.prepared else { return Err(Failure::internal("not prepared")) };
        let (request, predictor) = (rollout.request.clone(), prepared.predictor.clone());
        let manifest = prepared.manifest.clone();
        let (id, created, context) = (self.id.clone(), self.now(), rollout.top_context());
        let service = self
            .change_service(rollout, move |service| {
                service.admit(&id.clone(), |name| Revision {
                    name,
                    state: RevisionState::Starting,
                    percent: None,
                    model: request.model,
                    predictor,
                    run: request.run,
                    rollout: id,
                    commit: request.source.commit,
                    created,
                    manifest,
                    context,
                });
            })
            .await?;
        let given = service.revisions.iter().find(|r| r.rollout == self.id);
        let revision = given.ok_or_else(|| Failure::internal("no revision"))?;
        let base = self.shared.ports.router.base_url(&rollout.request.service);
        let url = endpoint(&base, &rollout.request.service, revision.predictor.protocol);
        let (name, manifest) = (revision.name.clone(), revision.manifest.clone());
        self.change(move |r, now| {
            (r.revision, r.endpoint, r.manifest) = (name, url, manifest);
            r.note("starting", None, now);
        })
        .await
    }

    pub(super) async fn retire(&self, rollout: &Rollout) -> Result<(), Failure> {
        let (new, old) = (rollout.revision.clone(), rollout.previous.clone());
        self.change_service(rollout, move |service| {
            service.live.clone_from(&new);
            if let Some(revision) = service.revision_mut(&new) {
                (revision.state, revision.percent) = (RevisionState::Ready, Some(100));
            }
            if let Some(revision) = service.revision_mut(&old) {
                (revision.state, revision.percent) = (RevisionState::Retired, None);
            }
        })
        .await?;
        let mut message = "nothing to drain".to_owned();
        self.shared.traffic.follow(&rollout.request.service).await?;
        if !rollout.previous.is_empty() {
            let previous = rollout.key_of(&rollout.previous);
            let cut = self.shared.ports.router.drained(&previous).await?;
            self.shared.ports.runtime.stop(&previous).await;
            message = left(&rollout.previous, cut, self.shared.settings.drain_timeout.get());
        }
        self.finish(rollout, message, State::Succeeded).await
    }

    pub(super) async fn restore(&self, rollout: &Rollout) -> Result<(), Failure> {
        let mut message = "nothing is live".to_owned();
        if !rollout.revision.is_empty() {
            let (new, old) = (rollout.revision.clone(), rollout.previous.clone());
            self.change_service(rollout, move |service| {
                if let Some(revision) = service.revision_mut(&new) {
                    (revision.state, revision.percent) = (RevisionState::Failed, None);
                }
                if let Some(revision) = service.revision_mut(&old) {
                    revision.percent = Some(100);
                }
            })
            .await?;
            self.shared.traffic.follow(&rollout.request.service).await?;
            // What was live has everything again: requests that the new revision still answers hold nobody up.
            self.leave(rollout.key());
        }
        if !rollout.previous.is_empty() {
            message = format!("live stays {}", rollout.previous);
        }
        self.finish(rollout, message, State::Succeeded).await
    }

    /// Ends a rollout whose last step failed again and again. The revision that should have left holds no server: the
    /// router is told to forget it as soon as it listens again.
    pub(super) async fn give_up(&self, rollout: &Rollout, message: String) -> Result<(), Failure> {
        let leaves = if rollout.stage == Stage::Restore { &rollout.revision } else { &rollout.previous };
        if !leaves.is_empty() {
            self.leave(rollout.key_of(leaves));
        }
        self.finish(rollout, message, State::Failed).await
    }

    /// Stops a revision's server when it has answered what it had begun. Nobody waits for that.
    fn leave(&self, key: RevisionKey) {
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            match shared.ports.router.drained(&key).await {
                Ok(0) => {}
                Ok(cut) => tracing::warn!(revision = %key, cut, "requests were cut"),
                Err(failure) => tracing::warn!(revision = %key, %failure, "not drained"),
            }
            shared.ports.runtime.stop(&key).await;
        });
    }

    /// Ends the rollout, whatever it came to; `step` is what became of its last step.
    async fn finish(&self, rollout: &Rollout, message: String, step: State) -> Result<(), Failure> {
        let now = self.now();
        let mut last = rollout.clone();
        last.note(message.clone(), None, now);
        last.end(step, now);
        self.put_log(&last).await;
        // Before the end is kept: a span that is sent twice does less harm than one that is lost.
        spans::record(&self.shared.ports.tracer, &last, now);
        self.shared.ports.tracer.flush_before_end().await;
        tracing::info!(rollout = self.id, revision = last.revision, state = ?last.state, "rollout ended");
        self.change(move |r, _| {
            r.note(message, None, now);
            r.end(step, now);
        })
        .await
    }
}

/// How the old revision left.
fn left(revision: &str, cut: u64, limit: Duration) -> String {
    let after = limit.as_secs();
    match cut {
        0 => format!("{revision} drained and stopped"),
        1 => format!("{revision} stopped; 1 request was cut that it had not answered after {after} s"),
        cut => format!("{revision} stopped; {cut} requests were cut that it had not answered after {after} s"),
    }
}

/// A rollout under an older fence gives its revision no more traffic. It is undone, which gives everything back to what
/// was live; that cannot harm the newer rollout, which begins only when this one has ended.
pub(super) fn shut_out(service: &InferenceService, fence: i64) -> Result<(), Failure> {
    if !service.shuts_out(fence) {
        return Ok(());
    }
    let (name, newest) = (&service.name, service.fence);
    let text = format!("a newer command holds the lock of {name} (fence {newest}, this rollout has {fence})");
    Err(Failure::new(Reason::Superseded, text).action("roll out again if this model is still wanted"))
}
