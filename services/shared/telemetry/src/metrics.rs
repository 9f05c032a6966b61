//! Metrics for Prometheus: installed once by a process, recorded through the `metrics` facade. docs/metrics.md lists them.

use std::time::SystemTime;

use kfops_core::{Failure, Reason};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper bounds for requests, in seconds.
const REQUESTS: [f64; 13] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Upper bounds for work, from a refusal to a long training, in seconds.
const WORK: [f64; 14] =
    [0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 10_800.0, 43_200.0, 86_400.0];

/// Duration of a gRPC call until its answer begins; labels `rpc_method`, `rpc_response_status_code`.
pub const RPC_SERVER: &str = "rpc_server_call_duration_seconds";
/// Duration of an HTTP request; labels `http_request_method`, `http_route`, `http_response_status_code`.
pub const HTTP_SERVER: &str = "http_server_request_duration_seconds";
/// Webhooks with a good signature; labels `event`, `result`.
pub const WEBHOOKS: &str = "kfops_webhooks_total";
/// Requests to GitHub; labels `call`, `http_response_status_code` (0: no answer).
pub const GITHUB: &str = "kfops_github_request_duration_seconds";
/// Deliveries that never arrived and were recovered.
pub const RECOVERED: &str = "kfops_deliveries_recovered_total";
/// Commands that have not ended.
pub const COMMANDS_OPEN: &str = "kfops_commands_open";
/// Commands that have ended, from the comment on; labels `verb`, `state`.
pub const COMMANDS: &str = "kfops_command_duration_seconds";
/// Steps of commands; labels `step`, `state`.
pub const STEPS: &str = "kfops_command_step_duration_seconds";
/// Work of image-builder, pipeline-runner and serving-deployer, from its creation on; labels `resource`, `state`.
pub const WORKED: &str = "kfops_work_duration_seconds";

const HISTOGRAMS: [(&str, &[f64], &str); 6] = [
    (RPC_SERVER, &REQUESTS, "gRPC calls until their answer begins"),
    (HTTP_SERVER, &REQUESTS, "HTTP requests"),
    (GITHUB, &REQUESTS, "requests to GitHub"),
    (COMMANDS, &WORK, "commands that have ended, from the comment on"),
    (STEPS, &WORK, "steps of commands that have ended"),
    (WORKED, &WORK, "builds, pipeline versions, runs and rollouts that have ended"),
];

/// The metrics of this process.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

/// Metrics could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}")]
pub struct MetricsError(String);

/// Installs the process's recorder. Call it once; until then nothing is counted, and recording costs next to nothing.
pub fn init_metrics() -> Result<Metrics, MetricsError> {
    let failed = |error: &dyn std::fmt::Display| MetricsError(error.to_string());
    let mut builder = PrometheusBuilder::new();
    for (name, bounds, _) in HISTOGRAMS {
        builder = builder.set_buckets_for_metric(Matcher::Full(name.into()), bounds).map_err(|error| failed(&error))?;
    }
    let handle = builder.install_recorder().map_err(|error| failed(&error))?;
    for (name, _, help) in HISTOGRAMS {
        metrics::describe_histogram!(name, metrics::Unit::Seconds, help);
    }
    metrics::describe_counter!(WEBHOOKS, "webhooks with a good signature");
    metrics::describe_counter!(RECOVERED, "deliveries that never arrived and were recovered");
    metrics::describe_gauge!(COMMANDS_OPEN, "commands that have not ended");
    metrics::gauge!("kfops_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1);
    Ok(Metrics(handle))
}

impl Metrics {
    /// In Prometheus' text format, version 0.0.4.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.render()
    }

    /// Folds what was recorded into the histograms. Call it every few seconds: memory grows in between.
    pub fn fold(&self) {
        self.0.run_upkeep();
    }
}

/// Notes that a worker's resource (`builds`, `runs`, ...) has ended.
pub fn worked(resource: &'static str, failure: Option<&Failure>, (start, end): (SystemTime, SystemTime)) {
    let state = match failure.map(|failure| failure.reason) {
        None => "succeeded",
        Some(Reason::Canceled) => "canceled",
        Some(_) => "failed",
    };
    let took = end.duration_since(start).unwrap_or_default();
    metrics::histogram!(WORKED, "resource" => resource, "state" => state).record(took);
}
