//! buildah, and podman, which has the same commands.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use async_trait::async_trait;
use kfops_core::{Digest, Failure, Reason};
use kfops_process::{Command, Ended, read_regular};
use tokio_util::sync::CancellationToken;

use super::{Common, canceled, storage::Storage, wall::View};
use crate::{
    explain,
    local::host_files,
    ports::{Builder, Job, Pushed},
    settings::Isolation,
};

/// Builds with buildah or podman.
pub(super) struct Buildah {
    program: &'static str,
    storage: Storage,
    common: Common,
}

impl Buildah {
    pub(super) fn new(program: &'static str, storage: Storage, common: Common) -> Self {
        Self { program, storage, common }
    }

    async fn build_command(&self, job: &Job, image_id: &Path) -> Result<Command, Failure> {
        let isolation = match self.common.settings.isolation {
            Isolation::Auto | Isolation::Chroot => "chroot",
            Isolation::Oci => "oci",
            Isolation::Rootless => "rootless",
        };
        let mounts = host_files::mounts(&self.common.settings, &job.scratch)?;
        let mut readable: Vec<PathBuf> = mounts.iter().map(|mount| mount.host.clone()).collect();
        readable.push(job.context.clone());
        let mut command = self
            .command(job, readable)
            .await?
            .args([
                "build",
                "--isolation",
                isolation,
                "--layers",
                "--force-rm",
                "--pull",
                // With the one a step leaves its chroot; with the other it makes the node of a disk.
                "--cap-drop",
                "CAP_SYS_CHROOT",
                "--cap-drop",
                "CAP_MKNOD",
                "--format",
                "oci",
                "--iidfile",
            ])
            .arg(image_id)
            .arg("--file")
            .arg(&job.dockerfile);
        for (key, value) in &job.build_args {
            command = command.arg("--build-arg").arg(format!("{key}={value}"));
        }
        for mount in mounts {
            command = command.arg("--volume").arg(format!("{}:{}:ro", mount.host.display(), mount.inside));
        }
        Ok(self.authenticated(command).arg(&job.context))
    }

    async fn push_command(&self, job: &Job, image_id: &str, digest: &Path) -> Result<Command, Failure> {
        let mut command = self.command(job, Vec::new()).await?.args(["push", "--digestfile"]).arg(digest);
        if job.repository.insecure {
            command = command.arg("--tls-verify=false");
        }
        // On one machine packing costs more than the bytes: the quickest way is good enough.
        if self.program == "buildah" && self.is_embedded(job) {
            command = command.args(["--compression-format", "zstd", "--compression-level", "1"]);
        }
        Ok(self.authenticated(command).arg(image_id).arg(format!("docker://{}:{}", job.repository.location, job.tag)))
    }

    /// With the store, the registries, a folder for temporary files, the log. It reads only `readable` of the job and
    /// writes only into `output`: we follow no link that a step could have left.
    async fn command(&self, job: &Job, mut readable: Vec<PathBuf>) -> Result<Command, Failure> {
        let registries = job.scratch.join("registries.conf");
        let temporary = output(job).join("tmp");
        let prepare = || {
            std::fs::create_dir_all(&temporary)?;
            std::fs::write(&registries, self.registries(job))
        };
        prepare().map_err(|error| {
            Failure::new(Reason::StoreUnavailable, format!("cannot write into {}: {error}", job.scratch.display()))
        })?;
        readable.push(registries.clone());
        readable.extend(self.common.auth_file.clone());
        let command = self
            .storage
            .command(View { readable, writable: vec![output(job)] })
            .await
            .env("CONTAINERS_REGISTRIES_CONF", &registries)
            .env("TMPDIR", &temporary)
            .pass_env(&[
                "http_proxy",
                "https_proxy",
                "no_proxy",
                "HTTP_PROXY",
                "HTTPS_PROXY",
                "NO_PROXY",
                "XDG_RUNTIME_DIR",
            ])
            .pass_env(&["SSL_CERT_FILE", "SSL_CERT_DIR"])
            .log(&job.log);
        Ok(command)
    }

    /// Some registries are spoken to over plain HTTP, and the embedded one stands in for Docker Hub where that does not answer.
    fn registries(&self, job: &Job) -> String {
        let mut text = "unqualified-search-registries = [\"docker.io\"]\nshort-name-mode = \"disabled\"\n".to_owned();
        let target = job.repository.location.split('/').next().filter(|_| job.repository.insecure);
        let insecure: BTreeSet<&str> = target.into_iter().chain(self.common.embedded.as_deref()).collect();
        // Writing to a string cannot fail.
        for host in insecure {
            writeln!(text, "[[registry]]\nlocation = \"{host}\"\ninsecure = true").ok();
        }
        if let Some(embedded) = self.common.embedded.as_ref().filter(|_| job.stand_in) {
            let location = format!("{embedded}/docker.io");
            writeln!(text, "[[registry]]\nprefix = \"docker.io\"\nlocation = \"{location}\"\ninsecure = true").ok();
        }
        text
    }

    fn authenticated(&self, command: Command) -> Command {
        match &self.common.auth_file {
            Some(file) => command.arg("--authfile").arg(file),
            None => command,
        }
    }

    fn is_embedded(&self, job: &Job) -> bool {
        let host = job.repository.location.split('/').next().unwrap_or_default();
        self.common.embedded.as_deref() == Some(host)
    }

    async fn steps(&self, job: &Job, cancel: &CancellationToken) -> Result<Pushed, Failure> {
        let (image_id, digest) = (output(job).join("image-id"), output(job).join("digest"));
        let command = self.build_command(job, &image_id).await?.timeout(job.timeout);
        let ended = command.run(cancel).await?;
        check(&ended, |ended| explain::build(ended, job))?;
        let built = SystemTime::now();
        let command = self.push_command(job, &image(&read(&image_id)?)?, &digest).await?.timeout(job.timeout);
        let ended = command.run(cancel).await?;
        check(&ended, |ended| explain::push(ended, job))?;
        let digest = Digest::parse(&read(&digest)?).map_err(Failure::internal)?;
        Ok(Pushed { digest, built })
    }
}

#[async_trait]
impl Builder for Buildah {
    async fn build(&self, job: &Job, cancel: &CancellationToken) -> Result<Pushed, Failure> {
        let job = absolute(job)?;
        let in_use = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(canceled()),
            in_use = self.storage.acquire() => in_use?,
        };
        let result = self.steps(&job, cancel).await;
        drop(in_use);
        if result.is_err() {
            self.storage.soil();
        }
        // Whoever ended it does not wait for the cleaning.
        let storage = self.storage.clone();
        if cancel.is_cancelled() {
            tokio::spawn(async move { storage.clean().await });
        } else {
            storage.clean().await;
        }
        result
    }
}

fn check(ended: &Ended, explain: impl FnOnce(&Ended) -> Failure) -> Result<(), Failure> {
    if ended.success() {
        return Ok(());
    }
    Err(if ended.canceled { canceled() } else { explain(ended) })
}

/// The only folder of the job that the program writes into.
fn output(job: &Job) -> PathBuf {
    job.scratch.join("out")
}

/// The program's working folder is not ours.
fn absolute(job: &Job) -> Result<Job, Failure> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(Failure::internal);
    Ok(Job {
        context: absolute(&job.context)?,
        dockerfile: absolute(&job.dockerfile)?,
        log: absolute(&job.log)?,
        scratch: absolute(&job.scratch)?,
        ..job.clone()
    })
}

/// A step that escaped may have written here: it must not become an option.
fn image(id: &str) -> Result<String, Failure> {
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    if !hex.is_empty() && hex.chars().all(|c| c.is_ascii_hexdigit()) {
        return Ok(id.to_owned());
    }
    Err(Failure::internal("the builder wrote no image id"))
}

fn read(path: &Path) -> Result<String, Failure> {
    let bytes = read_regular(path, 1024)
        .map_err(|error| Failure::internal(format!("the builder wrote no {}: {error}", path.display())))?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}
