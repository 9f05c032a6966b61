//! The image builder as a process of its own.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use kfops_image_builder::{Ports, Service, Settings, registry};
use kfops_rpc::Lifecycle;
use kfops_settings::SettingsFlags;
use kfops_telemetry::Tracer;

/// Builds the container images of a commit.
#[derive(Debug, clap::Parser)]
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
    let settings: Settings = match kfops_settings::load("image-builder", &args.flags) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    match run(settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kfops-image-builder: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: Settings) -> anyhow::Result<()> {
    kfops_telemetry::init_logs(&settings.telemetry)?;
    let tracer = Tracer::new("kfops-image-builder", settings.telemetry.otlp_endpoint.as_deref())?;
    let lifecycle = Lifecycle::new();
    kfops_rpc::stop_on_signals(&lifecycle).context("signals")?;
    // Builds that end during the shutdown still push, so the registry ends last.
    let registry_stop = tokio_util::sync::CancellationToken::new();
    let embedded = if settings.registry.prefix.is_empty() {
        let handle = registry::Registry::start(&settings.embedded_registry, registry_stop.clone()).await?;
        tracing::info!(address = %handle.addr, "embedded registry");
        Some(handle)
    } else {
        None
    };
    let ports = Ports::local(&settings, tracer.clone(), embedded)?;
    let (listener, address) = kfops_rpc::bind(&settings.listen).await?;
    let service = Service::build(settings, ports).await?;
    tracing::info!(%address, "listening");
    let served = service.serve(listener, lifecycle).await;
    registry_stop.cancel();
    tokio::task::spawn_blocking(move || tracer.flush()).await?;
    Ok(served?)
}
