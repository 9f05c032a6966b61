//! Where spans and metrics go and how logs look.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The `telemetry` section of every service's settings.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetrySettings {
    /// OTLP/gRPC endpoint, e.g. `http://otel-collector:4317`. Unset: spans are not exported.
    pub otlp_endpoint: Option<String>,
    /// Address at which Prometheus finds `/metrics`, e.g. `0.0.0.0:9464`. Unset: nothing is counted.
    pub metrics_listen: Option<String>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which log lines are written, in `tracing`'s filter syntax.
    pub log_filter: String,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self { otlp_endpoint: None, metrics_listen: None, log_format: LogFormat::Json, log_filter: "info".into() }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}
