//! The spans of a rollout: recorded when it has ended, with the times that were kept with it, so that a restart in
//! between changes neither their ids nor their times.

use std::time::SystemTime;

use kfops_telemetry::{Kind, Span, Tracer, metrics::worked};

use crate::rollout::{Rollout, State};

/// Key of the traced request of the proof, a child of the proof's step.
pub(crate) const SAMPLE_REQUEST: &str = "sample request";

/// Records them all, and how long it took. There are no spans when the caller had no trace.
pub(crate) fn record(tracer: &Tracer, rollout: &Rollout, end: SystemTime) {
    worked("rollouts", rollout.failure.as_ref(), (rollout.created, end));
    let (Some(caller), Some(top)) = (rollout.context, rollout.top_context()) else { return };
    let service = &rollout.request.service;
    let failure = rollout.failure.as_ref().map(|failure| failure.message.clone());
    let mut span = Span::child(&caller, &rollout.name(), format!("rollout {}", service.name), rollout.created, end)
        .with("kfops.resource", rollout.name())
        .with("kfops.inference_service", service.resource())
        .with("kfops.revision", rollout.revision.as_str())
        .with("kfops.previous_revision", rollout.previous.as_str())
        .with("kfops.model.digest", rollout.request.model.digest.as_str())
        .failed(failure);
    if let Some(failure) = &rollout.failure {
        span = span.with("error.type", failure.reason.as_str());
    }
    tracer.record(span);
    for step in rollout.steps.iter().filter(|step| step.state != State::Skipped) {
        let name = match step.title.as_str() {
            "revision" => format!("revision {}", rollout.revision),
            title => title.to_owned(),
        };
        let failed = matches!(step.state, State::Failed | State::Canceled).then(|| step.message.clone());
        let mut span = Span::child(&top, &step.title, name.trim_end(), step.start, step.end.unwrap_or(end))
            .with("kfops.message", step.message.as_str())
            .failed(failed);
        if step.title.starts_with("canary") {
            span = span
                .with("kfops.percent", i64::from(step.percent))
                .with("kfops.requests", i64::try_from(step.requests).unwrap_or(i64::MAX))
                .with("kfops.errors", i64::try_from(step.errors).unwrap_or(i64::MAX));
        }
        tracer.record(span);
    }
    if let Some(exchange) = &rollout.exchange {
        let proof = top.child("proof");
        tracer.record(
            Span::child(&proof, SAMPLE_REQUEST, SAMPLE_REQUEST, exchange.start, exchange.end.unwrap_or(end))
                .kind(Kind::Client)
                .with("kfops.revision", rollout.revision.as_str())
                .with("url.full", rollout.endpoint.as_str())
                .failed(exchange.error.clone()),
        );
    }
}
