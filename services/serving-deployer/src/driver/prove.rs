//! The proof: the new revision must answer the sample and the golden requests through the route.

use std::time::Duration;

use kfops_core::{Failure, Reason, TraceContext};
use serde_json::Value;

use super::Driver;
use crate::{
    plan::{after, stays},
    ports::{Answer, Probe},
    proof,
    rollout::{Exchange, Rollout},
    service::Protocol,
    spans::SAMPLE_REQUEST,
};

/// How long a route that is in force may take to reach the router's last thread.
const SETTLE: Duration = Duration::from_millis(50);

impl Driver {
    pub(super) async fn prove(&self, rollout: &Rollout) -> Result<(), Failure> {
        let Some(prepared) = self.prepared() else { return Err(Failure::internal("not prepared")) };
        let protocol = prepared.predictor.protocol;
        let context = rollout.top_context().map(|top| top.child("proof").child(SAMPLE_REQUEST));
        let start = self.now();
        // Kept before it is sent: the router's span names it as its parent, so it must be recorded whatever happens.
        self.change(move |r, _| r.exchange = context.map(|_| Exchange { start, end: None, error: None })).await?;
        let sample = prepared.sample.as_ref().or(prepared.golden.first().map(|golden| &golden.request));
        let (answer, outcome) = match sample {
            Some(request) => {
                let answer = self.ask(rollout, Some(request), context).await;
                let outcome = answer
                    .as_ref()
                    .map_err(Clone::clone)
                    .and_then(|a| proof::check(a, &rollout.revision, protocol, request).map(|_| ()));
                (answer.ok(), outcome)
            }
            None => (None, self.is_there(rollout, context).await),
        };
        let (end, error) = (self.now(), outcome.clone().err());
        let took = end.duration_since(start).unwrap_or_default();
        let kept = answer.map(|answer| proof::kept(&answer.body)).unwrap_or_default();
        self.change(move |r, _| {
            r.sample_response = kept;
            if let Some(exchange) = &mut r.exchange {
                (exchange.end, exchange.error) = (Some(end), error);
            }
        })
        .await?;
        let mut wrong = outcome.err().map(|text| {
            let message =
                format!("revision {} did not answer the sample request: {text}{}", rollout.revision, stays(rollout));
            let sample = match rollout.request.sample.as_str() {
                "" => "its requests".to_owned(),
                path => format!("`{path}`"),
            };
            Failure::new(Reason::ProofFailed, message)
                .action(format!("fix the model or {sample}, then run and roll out again"))
        });
        if wrong.is_none() {
            wrong = self.golden(rollout, protocol).await;
        }
        if let Some(failure) = wrong {
            let failure = self.with_log(rollout, failure).await;
            return self.change(move |r, now| r.fail(failure, now)).await;
        }
        let golden = match prepared.golden.len() {
            0 => String::new(),
            1 => " and the golden request".into(),
            n => format!(" and {n} golden requests"),
        };
        let next = after(rollout, None);
        self.change(move |r, now| {
            r.note(format!("answers the sample in {} ms{golden}", took.as_millis()), None, now);
            r.advance(next, now);
        })
        .await
    }

    async fn golden(&self, rollout: &Rollout, protocol: Protocol) -> Option<Failure> {
        let golden = self.prepared().map(|p| p.golden.as_slice()).unwrap_or_default();
        for (number, golden) in golden.iter().enumerate() {
            let answer = self.ask(rollout, Some(&golden.request), None).await;
            let checked = answer.and_then(|a| proof::check(&a, &rollout.revision, protocol, &golden.request));
            let wrong = match checked {
                Ok(body) => proof::mismatch(golden, &body),
                Err(text) => Some(text),
            };
            if let Some(wrong) = wrong {
                let message = format!(
                    "revision {} answers golden request {} wrongly: {wrong}{}",
                    rollout.revision,
                    number + 1,
                    stays(rollout)
                );
                return Some(
                    Failure::new(Reason::GateFailed, message)
                        .action(format!("fix the model or `{}`, then run and roll out again", rollout.request.golden)),
                );
            }
        }
        None
    }

    async fn ask(
        &self,
        rollout: &Rollout,
        body: Option<&Value>,
        context: Option<TraceContext>,
    ) -> Result<Answer, String> {
        let probe = Probe {
            url: rollout.endpoint.clone(),
            revision: rollout.revision.clone(),
            body: body.cloned(),
            context,
            timeout: self.shared.settings.predict_timeout.get(),
        };
        self.ask_settled(probe).await
    }

    /// Without a sample there is only the question whether the model is there.
    async fn is_there(&self, rollout: &Rollout, context: Option<TraceContext>) -> Result<(), String> {
        let service = &rollout.request.service;
        let base = self.shared.ports.router.base_url(service);
        let probe = Probe {
            url: format!("{base}/v1/models/{}", service.name),
            revision: rollout.revision.clone(),
            body: None,
            context,
            timeout: self.shared.settings.predict_timeout.get(),
        };
        let answer = self.ask_settled(probe).await?;
        match (answer.status, answer.revision) {
            (200, Some(revision)) if revision == rollout.revision => Ok(()),
            (status, _) => Err(status.to_string()),
        }
    }

    /// An answer of the router itself, not of a model, may come from a thread that has the route of a moment ago.
    async fn ask_settled(&self, probe: Probe) -> Result<Answer, String> {
        let prober = &self.shared.ports.prober;
        for _ in 0..4 {
            let answer = prober.send(probe.clone()).await?;
            if answer.revision.as_deref() == Some(&probe.revision) || answer.status != 404 {
                return Ok(answer);
            }
            tokio::time::sleep(SETTLE).await;
        }
        prober.send(probe).await
    }
}
