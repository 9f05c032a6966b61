//! Spans over OTLP/gRPC, structured logs, metrics for Prometheus. Exporting never blocks work and never fails a command.

mod logs;
pub mod metrics;
mod settings;
mod span;
mod tracer;

pub use logs::{LogError, LogFilter, init_logs};
pub use metrics::{Metrics, MetricsError, init_metrics};
pub use settings::{LogFormat, TelemetrySettings};
pub use span::{Kind, Span, Value};
pub use tracer::{Tracer, TracerError};
