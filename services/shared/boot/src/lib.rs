//! What the `main` of every service does: flags, settings, logs, spans, metrics, address, signals, exit code.

mod metrics;

use std::process::ExitCode;

use clap::{Args as _, Command, FromArgMatches as _};
use kfops_core::{Failure, Reason};
use kfops_rpc::Lifecycle;
use kfops_settings::SettingsFlags;
use kfops_telemetry::{TelemetrySettings, Tracer};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::TcpListener;

/// What the settings of every service have.
pub trait ServiceSettings: Default + Serialize + DeserializeOwned + JsonSchema {
    /// Address to listen on.
    fn listen(&self) -> &str;
    /// Spans and logs.
    fn telemetry(&self) -> &TelemetrySettings;
}

/// A service that may start: everything that does not differ between services is done.
pub struct Start<S> {
    /// As given by file, environment and flags.
    pub settings: S,
    /// For the service's spans.
    pub tracer: Tracer,
    /// Bound and not yet accepting.
    pub listener: TcpListener,
    /// Stops at SIGTERM and SIGINT.
    pub lifecycle: Lifecycle,
}

/// Runs the service `kfops-<name>` until it ends. Exit code 0: stopped in order; 1: failed; 2: wrong flags or settings.
pub async fn run<S, F>(name: &'static str, about: &'static str, start: F) -> ExitCode
where
    S: ServiceSettings,
    F: AsyncFnOnce(Start<S>) -> anyhow::Result<()>,
{
    let program = format!("kfops-{name}");
    let command =
        Command::new(name).bin_name(&program).display_name(&program).about(about).version(env!("CARGO_PKG_VERSION"));
    let matches = SettingsFlags::augment_args(command).get_matches();
    let flags = match SettingsFlags::from_arg_matches(&matches) {
        Ok(flags) => flags,
        Err(error) => error.exit(),
    };
    if flags.print_settings_schema {
        println!("{}", kfops_settings::schema::<S>());
        return ExitCode::SUCCESS;
    }
    let settings = match kfops_settings::load::<S>(name, &flags) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{program}: {error}");
            return ExitCode::from(2);
        }
    };
    match serve(&program, settings, start).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {error:#}");
            let failure = error.downcast_ref::<Failure>();
            if let Some(failure) = failure.filter(|f| !f.action.is_empty()) {
                eprintln!("what to do: {}", failure.action);
            }
            let wrong = failure.is_some_and(|f| f.reason == Reason::InvalidArgument);
            if wrong { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

async fn serve<S, F>(program: &str, settings: S, start: F) -> anyhow::Result<()>
where
    S: ServiceSettings,
    F: AsyncFnOnce(Start<S>) -> anyhow::Result<()>,
{
    kfops_telemetry::init_logs(settings.telemetry())?;
    let tracer = Tracer::new(program, settings.telemetry().otlp_endpoint.as_deref())?;
    let lifecycle = Lifecycle::new();
    kfops_rpc::stop_on_signals(&lifecycle)?;
    if let Some(listen) = &settings.telemetry().metrics_listen {
        metrics::start(listen, &lifecycle).await?;
    }
    let (listener, address) = kfops_rpc::bind(settings.listen()).await?;
    tracing::info!(%address, "listening");
    let served = start(Start { settings, tracer: tracer.clone(), listener, lifecycle }).await;
    tokio::task::spawn_blocking(move || tracer.flush()).await?;
    served
}
