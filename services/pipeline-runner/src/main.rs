//! The pipeline runner as a process of its own.

use std::process::ExitCode;

use clap::Parser;
use kfops_pipeline_runner::{Ports, Service, Settings};
use kfops_rpc::{Lifecycle, bind, stop_on_signals};
use kfops_settings::SettingsFlags;
use kfops_telemetry::{Tracer, init_logs};

/// Compiles KFP pipelines, runs them and keeps the models that they train.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(flatten)]
    flags: SettingsFlags,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    if args.flags.print_settings_schema {
        println!("{}", kfops_settings::schema::<Settings>());
        return ExitCode::SUCCESS;
    }
    let settings: Settings = match kfops_settings::load("pipeline-runner", &args.flags) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    match run(settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    let _filter = init_logs(&settings.telemetry)?;
    let tracer = Tracer::new("kfops-pipeline-runner", settings.telemetry.otlp_endpoint.as_deref())?;
    let (listen, ports) = (settings.listen.clone(), Ports::local(&settings, tracer).await?);
    let service = Service::build(settings, ports).await?;
    let (listener, address) = bind(&listen).await?;
    tracing::info!(%address, "serving");
    let lifecycle = Lifecycle::new();
    stop_on_signals(&lifecycle)?;
    Ok(service.serve(listener, lifecycle).await?)
}
