//! The parts of the work on one image, as spans.

use std::time::SystemTime;

use kfops_telemetry::{Span, Tracer};

use crate::build::{Build, ImageResult};

/// A part of the work, with its true times.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) start: SystemTime,
    pub(crate) end: SystemTime,
    pub(crate) error: Option<String>,
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
    let build = caller.child(&build.name());
    let key = format!("image/{}", result.name);
    let image = build.child(&key);
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
