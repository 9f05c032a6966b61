//! The window of a canary step: sends requests of its own, so that a service without traffic is judged too, and looks
//! at what the router counted.

use std::time::{Duration, SystemTime};

use kfops_core::Failure;
use serde_json::Value;

use crate::{
    driver::Shared,
    gate::{Counters, Verdict, Window, judge},
    ports::Probe,
    proof::{self, Golden},
    rollout::Rollout,
    source::Prepared,
};

/// Between two requests of our own.
const PACE: Duration = Duration::from_millis(200);
/// Between two notes for people.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// A window that is open.
pub(crate) struct Watch {
    since: SystemTime,
    noted: SystemTime,
    new: Counters,
    live: Counters,
    sent: usize,
    pub(crate) window: Window,
    pub(crate) verdict: Verdict,
}

impl Watch {
    /// Opens a window: counts from now on.
    pub(crate) async fn begin(shared: &Shared, rollout: &Rollout) -> Result<Self, Failure> {
        let router = &shared.ports.router;
        Ok(Self {
            since: shared.ports.clock.now(),
            noted: SystemTime::UNIX_EPOCH,
            new: router.counters(&rollout.key()).await?,
            live: router.counters(&rollout.key_of(&rollout.previous)).await?,
            sent: 0,
            window: Window::default(),
            verdict: Verdict::Hold,
        })
    }

    /// Sends the next request, looks, judges. True: there is something to tell.
    pub(crate) async fn look(
        mut self,
        shared: &Shared,
        rollout: &Rollout,
        prepared: &Prepared,
    ) -> Result<(Self, bool), Failure> {
        let rules = rollout.request.strategy.rules(&shared.settings);
        let count = usize::from(prepared.sample.is_some()) + prepared.golden.len();
        if count > 0 {
            let index = self.sent % count;
            self.sent += 1;
            let golden = match (&prepared.sample, index) {
                (Some(_), 0) => None,
                (Some(_), n) => Some(n - 1),
                (None, n) => Some(n),
            };
            let case = golden.and_then(|n| prepared.golden.get(n).map(|g| (n, g)));
            let request = case.map(|(_, golden)| &golden.request).or(prepared.sample.as_ref());
            if let Some(request) = request {
                self.window.own += 1;
                self.send(shared, rollout, prepared, request, case).await;
                if rules.max_p99_increase > 0.0 {
                    // The live revision needs data too; how it answers is not what is judged here.
                    shared.ports.prober.send(probe(shared, rollout, &rollout.previous, request)).await.ok();
                }
            }
        }
        // At first every request is asked once, without a pause.
        if self.sent >= count {
            tokio::time::sleep(PACE).await;
        }
        let router = &shared.ports.router;
        let now = shared.ports.clock.now();
        self.window.elapsed = now.duration_since(self.since).unwrap_or_default();
        self.window.new = router.counters(&rollout.key()).await?.since(&self.new);
        self.window.live = router.counters(&rollout.key_of(&rollout.previous)).await?.since(&self.live);
        self.verdict = judge(&rules, &self.window);
        // Every request is asked at least once at every step.
        if self.verdict == Verdict::Pass && self.sent < count {
            self.verdict = Verdict::Hold;
        }
        let tell = self.verdict != Verdict::Hold || now.duration_since(self.noted).unwrap_or_default() >= NOTE_EVERY;
        if tell {
            self.noted = now;
        }
        Ok((self, tell))
    }

    async fn send(
        &mut self,
        shared: &Shared,
        rollout: &Rollout,
        prepared: &Prepared,
        request: &Value,
        golden: Option<(usize, &Golden)>,
    ) {
        let answer = shared.ports.prober.send(probe(shared, rollout, &rollout.revision, request)).await;
        let Some((number, golden)) = golden else { return };
        let checked = answer.and_then(|a| proof::check(&a, &rollout.revision, prepared.predictor.protocol, request));
        let wrong = match checked {
            Ok(body) => proof::mismatch(golden, &body),
            Err(text) => Some(text),
        };
        if let Some(wrong) = wrong {
            let text = format!("golden request {} is answered wrongly: {wrong}", number + 1);
            self.window.mismatch.get_or_insert(text);
        }
    }
}

fn probe(shared: &Shared, rollout: &Rollout, revision: &str, request: &Value) -> Probe {
    Probe {
        url: rollout.endpoint.clone(),
        revision: revision.into(),
        body: Some(request.clone()),
        context: None,
        timeout: shared.settings.predict_timeout.get(),
    }
}
