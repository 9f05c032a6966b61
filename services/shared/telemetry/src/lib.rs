//! Spans over OTLP/gRPC and structured logs. Exporting never blocks work and never fails a command.

mod logs;
mod settings;
mod span;
mod tracer;

pub use logs::{LogError, LogFilter, init_logs};
pub use settings::{LogFormat, TelemetrySettings};
pub use span::{Kind, Span, Value};
pub use tracer::{Tracer, TracerError};
