//! The binary `kfops-scm-bot`.

use std::process::ExitCode;

use kfops_boot::Start;
use kfops_scm_bot::{Ports, Service, ServiceError, Settings};

#[tokio::main]
async fn main() -> ExitCode {
    kfops_boot::run::<Settings, _>(
        "scm-bot",
        "Kfops' scm-bot: drives commands from a pull request's comment to a live model",
        async |start| {
            let Start { settings, tracer, listener, lifecycle } = start;
            let ports = match settings.kubernetes {
                Some(_) => Ports::cluster(&settings, tracer).await?,
                None => Ports::local(&settings, tracer)?,
            };
            match Service::build(settings, ports).await?.serve(listener, lifecycle).await {
                Err(error @ ServiceError::Deposed) => {
                    // At once: whatever is still under way here is another replica's by now.
                    tracing::error!(%error, "ended");
                    std::process::exit(1);
                }
                served => Ok(served?),
            }
        },
    )
    .await
}
