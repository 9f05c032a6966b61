//! The binary `kfops-gateway`.

use std::process::ExitCode;

use kfops_boot::Start;
use kfops_gateway::{Ports, Service, Settings};

#[tokio::main]
async fn main() -> ExitCode {
    kfops_boot::run::<Settings, _>("gateway", "Kfops' gateway: webhooks, REST and gRPC", async |start| {
        let Start { settings, tracer, listener, lifecycle } = start;
        Ok(Service::build(settings, Ports::local(tracer)).await?.serve(listener, lifecycle).await?)
    })
    .await
}
