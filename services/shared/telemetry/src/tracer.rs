//! Hands finished spans to the OpenTelemetry SDK's batch processor.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{Link, SpanContext, SpanKind, Status, TraceFlags, TraceState},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanLinks, SpanProcessor as _},
};

use crate::{Kind, Span, Value};

/// Longest time that the end of a piece of work waits for the collector.
const PATIENCE: Duration = Duration::from_secs(2);

/// Exports the spans of one service. Cheap to clone.
#[derive(Clone)]
pub struct Tracer(Arc<Inner>);

struct Inner {
    processor: Option<BatchSpanProcessor>,
    scope: InstrumentationScope,
    recorded: AtomicU64,
    /// The collector did not answer the last time somebody waited for it.
    silent: AtomicBool,
}

/// The exporter could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("telemetry.otlp_endpoint `{endpoint}` cannot be used: {cause}")]
pub struct TracerError {
    endpoint: String,
    cause: String,
}

impl Tracer {
    /// A tracer for `service` (`service.name`). Needs a tokio runtime when there is an endpoint, connects lazily.
    pub fn new(service: &str, endpoint: Option<&str>) -> Result<Self, TracerError> {
        let processor = endpoint.map(|endpoint| processor(service, endpoint)).transpose()?;
        let scope = InstrumentationScope::builder("kfops").with_version(env!("CARGO_PKG_VERSION")).build();
        Ok(Self(Arc::new(Inner { processor, scope, recorded: AtomicU64::new(0), silent: AtomicBool::new(false) })))
    }

    /// A tracer that exports nothing.
    #[must_use]
    pub fn disabled() -> Self {
        Self(Arc::new(Inner {
            processor: None,
            scope: InstrumentationScope::builder("kfops").build(),
            recorded: AtomicU64::new(0),
            silent: AtomicBool::new(false),
        }))
    }

    /// Queues a finished span; drops it when the queue is full.
    pub fn record(&self, span: Span) {
        self.0.recorded.fetch_add(1, Ordering::Relaxed);
        if let Some(processor) = self.0.processor.as_ref().filter(|_| span.context.sampled) {
            processor.on_end(self.data(span));
        }
    }

    /// Spans recorded since the start.
    #[must_use]
    pub fn recorded(&self) -> u64 {
        self.0.recorded.load(Ordering::Relaxed)
    }

    /// Sends what is queued. Blocks; call it outside of the runtime's threads, e.g. in `spawn_blocking`.
    pub fn flush(&self) {
        if let Some(processor) = &self.0.processor
            && let Err(error) = processor.force_flush()
        {
            tracing::warn!(%error, "spans not exported");
        }
    }

    /// Sends what is queued, and waits for that at most two seconds, and not at all while the collector is known to be
    /// silent. For work whose end is about to be kept: its spans are then safe from a kill, and a dead collector holds nobody up.
    pub async fn flush_before_end(&self) {
        if self.0.processor.is_none() {
            return;
        }
        let tracer = self.clone();
        let flush = tokio::task::spawn_blocking(move || {
            tracer.flush();
            tracer.0.silent.store(false, Ordering::Relaxed);
        });
        if self.0.silent.load(Ordering::Relaxed) {
            return;
        }
        if tokio::time::timeout(PATIENCE, flush).await.is_err() {
            self.0.silent.store(true, Ordering::Relaxed);
            tracing::warn!("spans not exported in time");
        }
    }

    fn data(&self, span: Span) -> SpanData {
        let context = |c: kfops_core::TraceContext, remote| {
            let flags = if c.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
            SpanContext::new(
                opentelemetry::TraceId::from_bytes(c.trace_id.0),
                opentelemetry::SpanId::from_bytes(c.span_id.0),
                flags,
                remote,
                TraceState::default(),
            )
        };
        let mut links = SpanLinks::default();
        links.links = span.links.iter().map(|l| Link::new(context(*l, true), Vec::new(), 0)).collect();
        SpanData {
            span_context: context(span.context, false),
            parent_span_id: opentelemetry::SpanId::from_bytes(span.parent.map_or([0; 8], |p| p.0)),
            parent_span_is_remote: false,
            span_kind: match span.kind {
                Kind::Internal => SpanKind::Internal,
                Kind::Server => SpanKind::Server,
                Kind::Client => SpanKind::Client,
            },
            name: span.name.into(),
            start_time: span.start,
            end_time: span.end,
            attributes: span.attributes.into_iter().map(|(key, value)| KeyValue::new(key, attribute(value))).collect(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links,
            status: span.error.map_or(Status::Unset, Status::error),
            instrumentation_scope: self.0.scope.clone(),
        }
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer").field("exports", &self.0.processor.is_some()).finish()
    }
}

fn processor(service: &str, endpoint: &str) -> Result<BatchSpanProcessor, TracerError> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(Duration::from_secs(5))
        .build()
        .map_err(|error| TracerError { endpoint: endpoint.to_owned(), cause: error.to_string() })?;
    let batch = BatchConfigBuilder::default().with_scheduled_delay(Duration::from_millis(500)).build();
    let mut processor = BatchSpanProcessor::builder(exporter).with_batch_config(batch).build();
    let resource = Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", service.to_owned()),
            KeyValue::new("service.namespace", "kfops"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        ])
        .build();
    processor.set_resource(&resource);
    Ok(processor)
}

fn attribute(value: Value) -> opentelemetry::Value {
    match value {
        Value::Text(text) => text.into(),
        Value::Int(int) => int.into(),
        Value::Float(float) => float.into(),
        Value::Bool(bool) => bool.into(),
    }
}
