//! The binary `kfops-pipeline-runner`.

use std::process::ExitCode;

use kfops_boot::Start;
use kfops_pipeline_runner::{Ports, Service, Settings};

#[tokio::main]
async fn main() -> ExitCode {
    kfops_boot::run::<Settings, _>(
        "pipeline-runner",
        "Kfops' pipeline-runner: compiles and runs Kubeflow pipelines",
        async |start| {
            let Start { settings, tracer, listener, lifecycle } = start;
            let ports = Ports::of(&settings, tracer).await?;
            Ok(Service::build(settings, ports).await?.serve(listener, lifecycle).await?)
        },
    )
    .await
}
