//! The parts of the work on one image, as spans.

use std::time::SystemTime;

use kfops_core::TraceContext;
use kfops_telemetry::{Span, Tracer};

use crate::build::{Build, ImageResult};

/// A part of the work, with its true times.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) start: SystemTime,
    pub(crate) end: SystemTime,
    pub(crate) error: Option<String>,
}

/// The span of an image.
pub(crate) fn context(caller: &TraceContext, build: &Build, image: &str) -> TraceContext {
    caller.child(&build.name()).child(&key(image))
}

fn key(image: &str) -> String {
    format!("image/{image}")
}

/// Records the image's span and its parts', when someone traces the build.
pub(crate) fn record(
    tracer: &Tracer,
    build: &Build,
    result: &ImageResult,
    (start, end): (SystemTime, SystemTime),
    steps: &[Step],
) {
    let Some(caller) = &build.trace else { return };
    let image = context(caller, build, &result.name);
    let (build, key) = (caller.child(&build.name()), key(&result.name));
    for step in steps {
        let span = Span::child(&image, step.name, step.name, step.start, step.end).failed(step.error.clone());
        tracer.record(span);
    }
    let mut span = Span::child(&build, &key, format!("image {}", result.name), start, end)
        .with("container.image.name", result.repository.clone())
        .with("kfops.image.reused", result.reused)
        .failed(result.failure.as_ref().map(|failure| failure.message.clone()));
    if let Some(digest) = &result.digest {
        span = span.with("kfops.image.digest", digest.as_str());
    }
    if let Some(content) = &result.content {
        span = span.with("kfops.image.content_digest", content.as_str());
    }
    tracer.record(span);
}
