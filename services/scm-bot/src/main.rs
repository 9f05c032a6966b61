//! Starts scm-bot as a process of its own.

use std::process::ExitCode;

use clap::Parser as _;
use kfops_core::{Failure, Reason};
use kfops_rpc::{Lifecycle, bind, stop_on_signals};
use kfops_scm_bot::{Ports, Service, Settings};
use kfops_settings::{SettingsFlags, load, schema};
use kfops_telemetry::{Tracer, init_logs};

/// Drives the commands of pull requests.
#[derive(clap::Parser)]
#[command(name = "kfops-scm-bot", version)]
struct Args {
    #[command(flatten)]
    flags: SettingsFlags,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    if args.flags.print_settings_schema {
        println!("{}", schema::<Settings>());
        return ExitCode::SUCCESS;
    }
    let settings: Settings = match load("scm-bot", &args.flags) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("kfops-scm-bot: {error}");
            return ExitCode::from(2);
        }
    };
    match run(settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kfops-scm-bot: {error:#}");
            let wrong = error.downcast_ref::<Failure>().is_some_and(|f| f.reason == Reason::InvalidArgument);
            if wrong { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    init_logs(&settings.telemetry)?;
    let tracer = Tracer::new("kfops-scm-bot", settings.telemetry.otlp_endpoint.as_deref())?;
    if settings.github.token.is_none() {
        tracing::warn!("github.token is not set: nothing can be written to GitHub");
    }
    let lifecycle = Lifecycle::new();
    stop_on_signals(&lifecycle)?;
    let ports = Ports::local(&settings, tracer)?;
    let (listener, address) = bind(&settings.listen).await?;
    let service = Service::build(settings, ports).await?;
    tracing::info!(%address, "listening");
    service.serve(listener, lifecycle).await?;
    Ok(())
}
