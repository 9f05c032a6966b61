//! The binary `kfops-scm-bot`.

use std::process::ExitCode;

use kfops_boot::Start;
use kfops_scm_bot::{Ports, Service, Settings};

#[tokio::main]
async fn main() -> ExitCode {
    kfops_boot::run::<Settings, _>(
        "scm-bot",
        "Kfops' scm-bot: drives commands from a pull request's comment to a live model",
        async |start| {
            let Start { settings, tracer, listener, lifecycle } = start;
            let ports = Ports::local(&settings, tracer)?;
            Ok(Service::build(settings, ports).await?.serve(listener, lifecycle).await?)
        },
    )
    .await
}
