//! The binary `kfops-serving-deployer`.

use std::process::ExitCode;

use kfops_boot::Start;
use kfops_serving_deployer::{Ports, Service, Settings};

#[tokio::main]
async fn main() -> ExitCode {
    kfops_boot::run::<Settings, _>("serving-deployer", "Kfops' serving-deployer: rolls models out", async |start| {
        let Start { settings, tracer, listener, lifecycle } = start;
        let ports = match settings.kserve {
            Some(_) => Ports::cluster(&settings, tracer).await?,
            None => Ports::local(&settings, tracer).await?,
        };
        Ok(Service::build(settings, ports).await?.serve(listener, lifecycle).await?)
    })
    .await
}
