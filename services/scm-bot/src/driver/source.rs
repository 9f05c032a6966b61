//! The files of the commit: fetched once into the object store, and what kfops.yaml says.

use std::sync::Arc;

use kfops_core::{Digest, Failure, Reason};
use kfops_project::{Folder, Project, render};
use kfops_store::{ArchiveLimits, SourceRef, extract_source};

use super::{Done, Driver, annotate};
use crate::command::Source;

impl Driver {
    pub(super) async fn source(&mut self) -> Result<Done, Failure> {
        let engine = Arc::clone(&self.engine);
        let known = self.command.lineage.source.clone();
        let commit = known.as_ref().map_or_else(|| self.command.commit().to_owned(), |source| source.commit.clone());
        let key = format!("sources/{}/{commit}.tar.gz", self.command.repository);
        let bytes = match engine.store.get(&key).await {
            Ok(bytes) => bytes,
            Err(failure) if failure.reason == Reason::NotFound => {
                let bytes = match engine.github.archive(&self.meter, &self.command.repository, &commit).await {
                    Ok(bytes) => bytes,
                    Err(failure) if failure.retryable => return Err(failure),
                    Err(failure) => return Ok(Done::No(failure)),
                };
                // GitHub packs a commit anew each time: the first archive that is kept is the one for all commands.
                if engine.store.create(&key, bytes.clone()).await? { bytes } else { engine.store.get(&key).await? }
            }
            Err(failure) => return Err(failure),
        };
        let size = bytes.len();
        self.command.lineage.source = Some(Source { key, digest: Digest::of(&bytes).to_string(), commit });
        self.command.lineage.inference_service = String::new();
        drop(bytes);
        let project = match self.project().await {
            Ok(project) => project,
            Err(failure) if failure.retryable => return Err(failure),
            Err(failure) => return Ok(Done::No(failure)),
        };
        if self.command.verb.environment().is_some() {
            match self.agreed_target().await? {
                Ok(name) => {
                    if let Err(failure) = self.owned(&name).await? {
                        return Ok(Done::No(failure));
                    }
                    self.command.lineage.inference_service = name;
                }
                Err(failure) => return Ok(Done::No(failure)),
            }
        }
        let names = self.command.options().images;
        if let Some(unknown) = names.iter().find(|name| project.image(name).is_none()) {
            let known: Vec<&str> = project.images.build.iter().map(|image| image.name.as_str()).collect();
            return Ok(Done::No(
                Failure::new(Reason::InvalidArgument, format!("there is no image {unknown} in kfops.yaml"))
                    .on("command.arguments")
                    .action(format!("name some of: {}", known.join(", "))),
            ));
        }
        Ok(Done::Yes(format!("{} KiB", size.div_ceil(1024))))
    }

    /// What kfops.yaml of the source says; read again after a restart.
    pub(super) async fn project(&mut self) -> Result<Project, Failure> {
        if let Some(project) = &self.project {
            return Ok(project.clone());
        }
        let source =
            self.command.lineage.source.as_ref().ok_or_else(|| Failure::internal("the source is not known yet"))?;
        let source =
            SourceRef { key: source.key.clone(), digest: Digest::parse(&source.digest).map_err(Failure::internal)? };
        let folder = tempfile::tempdir().map_err(Failure::internal)?;
        extract_source(&self.engine.store, &source, folder.path(), ArchiveLimits::default()).await?;
        let loaded = tokio::task::spawn_blocking(move || {
            let files = Folder::new(folder.path()).map_err(|error| Box::new((Vec::new(), Failure::internal(error))))?;
            Project::load(&files).map_err(|problems| {
                let errors = problems.iter().filter(|problem| problem.is_error()).count();
                let first =
                    problems.iter().find(|problem| problem.is_error()).map(ToString::to_string).unwrap_or_default();
                let more = if errors > 1 { format!(" (and {} more)", errors - 1) } else { String::new() };
                let failure = Failure::new(Reason::ConfigInvalid, format!("{first}{more}"))
                    .action("mend it and push; `kfc check` shows every problem beforehand")
                    .log_tail(&render(&problems));
                Box::new((annotate::problems(&problems), failure))
            })
        })
        .await
        .map_err(Failure::internal)?;
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(wrong) => {
                let (annotations, failure) = *wrong;
                self.command.annotations = annotations;
                return Err(failure);
            }
        };
        self.command.annotations = annotate::problems(&loaded.warnings);
        self.project = Some(loaded.project.clone());
        Ok(loaded.project)
    }
}
