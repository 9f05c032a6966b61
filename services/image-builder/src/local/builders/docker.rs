//! Docker's daemon through `docker`.

use std::time::SystemTime;

use async_trait::async_trait;
use kfops_core::{Digest, Failure, Reason};
use kfops_process::Command;
use tokio_util::sync::CancellationToken;

use super::{Common, canceled, refuse_stand_in};
use crate::{
    explain,
    ports::{Builder, Job, Pushed},
};

/// Builds with a running dockerd.
pub(super) struct Docker {
    common: Common,
}

impl Docker {
    pub(super) fn new(common: Common) -> Self {
        Self { common }
    }

    fn command(&self, job: &Job) -> Command {
        let mut command = Command::new("docker");
        if let Some(folder) = self.common.auth_file.as_deref().and_then(|file| file.parent()) {
            command = command.arg("--config").arg(folder);
        }
        command.pass_env(&["DOCKER_HOST", "DOCKER_CONTEXT"]).log(&job.log).timeout(job.timeout)
    }
}

#[async_trait]
impl Builder for Docker {
    async fn build(&self, job: &Job, cancel: &CancellationToken) -> Result<Pushed, Failure> {
        refuse_stand_in(job, "docker")?;
        let target = format!("{}:{}", job.repository.location, job.tag);
        let mut command = self.command(job).args(["build", "--pull", "--tag", &target, "--file"]).arg(&job.dockerfile);
        for (key, value) in &job.build_args {
            command = command.arg("--build-arg").arg(format!("{key}={value}"));
        }
        let ended = command.arg(&job.context).run(cancel).await?;
        if !ended.success() {
            return Err(if ended.canceled { canceled() } else { explain::build(&ended, job) });
        }
        let built = SystemTime::now();
        let ended = self.command(job).args(["push", &target]).run(cancel).await?;
        if !ended.success() {
            return Err(if ended.canceled { canceled() } else { explain::push(&ended, job) });
        }
        // The last line: `<tag>: digest: sha256:… size: …`.
        let digest =
            ended.output.lines().rev().find_map(|line| line.split_once("digest: ")?.1.split_whitespace().next());
        let digest = digest
            .and_then(|digest| Digest::parse(digest).ok())
            .ok_or_else(|| Failure::new(Reason::ImagePushFailed, "docker pushed and did not say under which digest"))?;
        Ok(Pushed { digest, built })
    }
}
