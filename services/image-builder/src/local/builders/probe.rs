//! Which program works here, and why the others do not.

use std::{sync::Arc, time::Duration};

use kfops_core::{Failure, Reason};
use kfops_process::{Command, Ended};
use tokio_util::sync::CancellationToken;

use super::{Common, buildah::Buildah, buildkit::BuildKit, docker::Docker, storage::Storage};
use crate::{ports::Builder, settings::BuilderChoice};

/// How long a program may take to say that it works.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn first_that_works(common: &Common) -> Result<Arc<dyn Builder>, Failure> {
    let order = [BuilderChoice::Buildctl, BuilderChoice::Buildah, BuilderChoice::Podman, BuilderChoice::Docker];
    let wanted = common.settings.builder;
    let mut reasons = Vec::new();
    for choice in order.into_iter().filter(|choice| wanted == BuilderChoice::Auto || wanted == *choice) {
        match try_one(choice, common).await {
            Ok(builder) => {
                tracing::info!(builder = name(choice), passed_over = reasons.join("; "), "builder chosen");
                return Ok(builder);
            }
            Err(reason) => reasons.push(format!("{}: {reason}", name(choice))),
        }
    }
    Err(Failure::new(Reason::BuilderMissing, format!("no image builder works on this machine: {}", reasons.join("; ")))
        .action("install buildah (package buildah), or podman, or start docker or buildkitd"))
}

async fn try_one(choice: BuilderChoice, common: &Common) -> Result<Arc<dyn Builder>, String> {
    match choice {
        BuilderChoice::Buildctl => {
            let workers = ask(Command::new("buildctl").args(["debug", "workers"]).pass_env(&["BUILDKIT_HOST"])).await?;
            // Without a worker it prints the header alone.
            if workers.output.lines().count() < 2 {
                return Err("buildkitd has no worker".into());
            }
            Ok(Arc::new(BuildKit::new(common.clone())))
        }
        BuilderChoice::Buildah | BuilderChoice::Podman => {
            let program = name(choice);
            ask(Command::new(program).arg("--version")).await?;
            let storage = Storage::open(program, common).await?;
            Ok(Arc::new(Buildah::new(program, storage, common.clone())))
        }
        BuilderChoice::Docker => {
            ask(Command::new("docker")
                .args(["info", "--format", "{{.ServerVersion}}"])
                .pass_env(&["DOCKER_HOST", "DOCKER_CONTEXT"]))
            .await?;
            Ok(Arc::new(Docker::new(common.clone())))
        }
        BuilderChoice::Auto => Err("not a program".into()),
    }
}

const fn name(choice: BuilderChoice) -> &'static str {
    match choice {
        BuilderChoice::Auto => "auto",
        BuilderChoice::Buildctl => "buildctl",
        BuilderChoice::Buildah => "buildah",
        BuilderChoice::Podman => "podman",
        BuilderChoice::Docker => "docker",
    }
}

/// Runs a probe; says in a line why it does not work.
pub(super) async fn ask(command: Command) -> Result<Ended, String> {
    let ended = match command.timeout(PATIENCE).run(&CancellationToken::new()).await {
        Ok(ended) => ended,
        Err(failure) => return Err(failure.message),
    };
    if ended.success() {
        return Ok(ended);
    }
    if ended.code == Some(127) {
        return Err("not installed".into());
    }
    let line = ended.output.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    Err(format!("{} {}", ended.describe(), line.chars().take(200).collect::<String>()).trim_end().to_owned())
}
