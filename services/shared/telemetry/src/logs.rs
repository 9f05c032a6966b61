//! Structured logs on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, layer::SubscriberExt as _, reload};

use crate::{LogFormat, TelemetrySettings};

/// Changes the log filter while the process runs.
#[derive(Clone)]
pub struct LogFilter(reload::Handle<EnvFilter, Registry>);

/// Logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter cannot be read.
    #[error("telemetry.log_filter `{0}` is no valid filter: {1}")]
    Filter(String, String),
    /// There is a subscriber already.
    #[error("logs are set up already")]
    Twice,
}

/// Installs the process's log subscriber. Call it once, in `main`.
pub fn init_logs(settings: &TelemetrySettings) -> Result<LogFilter, LogError> {
    let filter = parse(&settings.log_filter)?;
    let (filter, handle) = reload::Layer::new(filter);
    let output = match settings.log_format {
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed(),
        LogFormat::Text => {
            let color = std::io::stderr().is_terminal();
            fmt::layer().compact().with_ansi(color).with_writer(std::io::stderr).boxed()
        }
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(output);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Twice)?;
    Ok(LogFilter(handle))
}

impl LogFilter {
    /// Replaces the filter.
    pub fn set(&self, filter: &str) -> Result<(), LogError> {
        let filter = parse(filter)?;
        self.0.reload(filter).map_err(|error| LogError::Filter(String::new(), error.to_string()))
    }
}

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(filter).map_err(|error| LogError::Filter(filter.to_owned(), error.to_string()))
}
