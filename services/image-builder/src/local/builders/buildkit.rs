//! BuildKit through `buildctl`.

use std::time::SystemTime;

use async_trait::async_trait;
use kfops_core::{Digest, Failure};
use kfops_process::Command;
use tokio_util::sync::CancellationToken;

use super::{Common, canceled, refuse_stand_in};
use crate::{
    explain,
    ports::{Builder, Job, Pushed},
};

/// Builds with a running buildkitd.
pub(super) struct BuildKit {
    common: Common,
}

impl BuildKit {
    pub(super) fn new(common: Common) -> Self {
        Self { common }
    }
}

#[async_trait]
impl Builder for BuildKit {
    async fn build(&self, job: &Job, cancel: &CancellationToken) -> Result<Pushed, Failure> {
        refuse_stand_in(job, "buildctl")?;
        let metadata = job.scratch.join("metadata.json");
        let (folder, file) =
            (job.dockerfile.parent().unwrap_or(&job.context), job.dockerfile.file_name().unwrap_or_default());
        let insecure = if job.repository.insecure { ",registry.insecure=true" } else { "" };
        let mut command = Command::new("buildctl")
            .args(["build", "--frontend", "dockerfile.v0", "--progress", "plain"])
            .arg("--local")
            .arg(format!("context={}", job.context.display()))
            .arg("--local")
            .arg(format!("dockerfile={}", folder.display()))
            .arg("--opt")
            .arg(format!("filename={}", file.to_string_lossy()))
            .arg("--output")
            .arg(format!("type=image,name={}:{},push=true{insecure}", job.repository.location, job.tag))
            .arg("--metadata-file")
            .arg(&metadata)
            .pass_env(&["BUILDKIT_HOST"])
            .log(&job.log)
            .timeout(job.timeout);
        for (key, value) in &job.build_args {
            command = command.arg("--opt").arg(format!("build-arg:{key}={value}"));
        }
        if let Some(folder) = self.common.auth_file.as_deref().and_then(|file| file.parent()) {
            command = command.env("DOCKER_CONFIG", folder);
        }
        let ended = command.run(cancel).await?;
        if !ended.success() {
            return Err(if ended.canceled { canceled() } else { explain::build(&ended, job) });
        }
        let text = std::fs::read(&metadata)
            .map_err(|error| Failure::internal(format!("buildctl wrote no metadata: {error}")))?;
        let metadata: serde_json::Value = serde_json::from_slice(&text).map_err(Failure::internal)?;
        let digest = metadata.get("containerimage.digest").and_then(serde_json::Value::as_str).unwrap_or_default();
        // It pushes while it exports: there is no moment between the two to be seen from outside.
        Ok(Pushed { digest: Digest::parse(digest).map_err(Failure::internal)?, built: SystemTime::now() })
    }
}
