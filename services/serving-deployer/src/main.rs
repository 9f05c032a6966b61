//! `kfops-serving-deployer`: the serving-deployer as a process of its own.

use std::process::ExitCode;

use clap::Parser;
use kfops_rpc::Lifecycle;
use kfops_serving_deployer::{Ports, Service, Settings};
use kfops_settings::SettingsFlags;
use kfops_telemetry::Tracer;

/// Rolls models out to InferenceServices.
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
    let settings: Settings = match kfops_settings::load("serving-deployer", &args.flags) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("kfops-serving-deployer: {error}");
            return ExitCode::from(2);
        }
    };
    match run(settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kfops-serving-deployer: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    kfops_telemetry::init_logs(&settings.telemetry)?;
    let tracer = Tracer::new("kfops-serving-deployer", settings.telemetry.otlp_endpoint.as_deref())?;
    let ports = Ports::local(&settings, tracer.clone()).await?;
    let listen = settings.listen.clone();
    let service = Service::build(settings, ports).await?;
    let (listener, address) = kfops_rpc::bind(&listen).await?;
    tracing::info!(%address, "serving");
    let lifecycle = Lifecycle::new();
    kfops_rpc::stop_on_signals(&lifecycle)?;
    service.serve(listener, lifecycle).await?;
    tokio::task::spawn_blocking(move || tracer.flush()).await?;
    Ok(())
}
