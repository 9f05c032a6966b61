//! The binary: settings, logs, spans, then serve until a signal.

use std::process::ExitCode;

use clap::Parser;
use kfops_gateway::{Ports, Service, Settings};
use kfops_rpc::Lifecycle;
use kfops_settings::SettingsFlags;
use kfops_telemetry::Tracer;

/// Kfops' gateway: webhooks, REST and gRPC.
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
    let settings = match kfops_settings::load::<Settings>("gateway", &args.flags)
        .map_err(anyhow::Error::from)
        .and_then(|settings| settings.validate().map(|()| settings).map_err(anyhow::Error::from))
    {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    match run(settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    kfops_telemetry::init_logs(&settings.telemetry)?;
    let tracer = Tracer::new("kfops-gateway", settings.telemetry.otlp_endpoint.as_deref())?;
    let (listener, address) = kfops_rpc::bind(&settings.listen).await?;
    let service = Service::build(settings, Ports::local(tracer.clone())).await?;
    let lifecycle = Lifecycle::new();
    kfops_rpc::stop_on_signals(&lifecycle)?;
    tracing::info!(%address, "listening");
    service.serve(listener, lifecycle).await?;
    tokio::task::spawn_blocking(move || tracer.flush()).await?;
    Ok(())
}
