//! What an image is made from: its context, its base images, and the digest over both; and whether it exists already.

use std::{collections::BTreeMap, path::PathBuf};

use kfops_core::{Digest, Failure, Reason};
use kfops_store::{ArchiveLimits, SourceRef, extract_source};
use tokio::io::AsyncReadExt as _;

use super::ImageWork;
use crate::{
    build::{ImageResult, State},
    content_digest,
    context::{self, Context},
    dockerfile,
    ports::Repository,
    reference::ImageName,
    steps::Step,
};

/// All that an image is made from.
pub(super) struct Content {
    pub(super) context: Context,
    pub(super) digest: Digest,
    pub(super) stand_in: bool,
}

impl ImageWork<'_> {
    /// Whether the image exists, in the words of a result that has not begun. Nothing is built or kept.
    pub(crate) async fn look(self) -> Result<ImageResult, Failure> {
        let spec = self.spec()?;
        let repository = self.engine.repository(self.build, &spec.name);
        let mut result = self.build.results.get(self.index).cloned().ok_or_else(|| Failure::internal("no result"))?;
        result.repository.clone_from(&repository.name);
        // There will be no log.
        result.log_key.clear();
        match self.find(&repository).await {
            Ok((content, digest)) => {
                (result.reused, result.content, result.digest) = (digest.is_some(), content, digest)
            }
            Err(failure) => {
                let message = format!("image {}: {}", spec.name, failure.message);
                let resource = format!("{}/images/{}", self.build.name(), spec.name);
                result.state = State::Failed;
                result.failure = Some(Failure { message, ..failure }.on(resource));
            }
        }
        Ok(result)
    }

    async fn find(&self, repository: &Repository) -> Result<(Option<Digest>, Option<Digest>), Failure> {
        match self.content(repository, &mut Vec::new()).await? {
            Some(content) => {
                let found = self.or_stop(self.engine.known.find(repository, &content.digest)).await?;
                Ok((Some(content.digest), found))
            }
            // A base image that was never made: nothing stands on it.
            None => Ok((None, None)),
        }
    }

    /// None: a base image would have to be made first, and this is a preview.
    pub(super) async fn content(
        &self,
        repository: &Repository,
        steps: &mut Vec<Step>,
    ) -> Result<Option<Content>, Failure> {
        let context = self.timed(steps, "context", self.or_stop(self.context())).await?;
        let bases = self.timed(steps, "base image", self.or_stop(self.bases(&context, repository))).await?;
        let Some((bases, stand_in)) = bases else { return Ok(None) };
        let args = self.spec()?.build_args.clone();
        let digest = tokio::task::spawn_blocking(move || {
            content_digest::of(&context, &args, &bases).map(|digest| Content { context, digest, stand_in })
        });
        self.or_stop(async { digest.await.map_err(Failure::internal)?.map(Some) }).await
    }

    /// Unpacks the source, once for all images, and assembles this image's context.
    async fn context(&self) -> Result<Context, Failure> {
        let source = self.source.get_or_try_init(|| self.extract()).await?.clone();
        let (spec, into) = (self.spec()?.clone(), self.folder()?.join("context"));
        tokio::task::spawn_blocking(move || context::assemble(&source, &spec, &into))
            .await
            .map_err(Failure::internal)?
    }

    async fn extract(&self) -> Result<PathBuf, Failure> {
        let request = &self.build.request;
        let source = SourceRef { key: request.source_key.clone(), digest: request.source_digest.clone() };
        let into = self.work.join("source");
        // An attempt that another image gave up may have left something.
        tokio::fs::remove_dir_all(&into).await.ok();
        extract_source(&self.engine.store, &source, &into, ArchiveLimits::default()).await?;
        Ok(into)
    }

    async fn bases(
        &self,
        context: &Context,
        repository: &Repository,
    ) -> Result<Option<(BTreeMap<ImageName, Digest>, bool)>, Failure> {
        let unreadable = |error: std::io::Error| {
            Failure::new(Reason::SourceInvalid, format!("the Dockerfile cannot be read: {error}"))
        };
        let mut text = Vec::new();
        let file = tokio::fs::File::open(&context.dockerfile).await.map_err(unreadable)?;
        file.take(dockerfile::MAX as u64 + 1).read_to_end(&mut text).await.map_err(unreadable)?;
        let (mut bases, mut stand_in) = (BTreeMap::new(), false);
        for name in dockerfile::bases(&String::from_utf8_lossy(&text), &self.spec()?.build_args)? {
            let insecure = repository.insecure && repository.location.split('/').next() == Some(name.registry.as_str());
            let registry = &self.engine.ports.registry;
            let base = if self.preview {
                let Some(base) = registry.base_now(&name, insecure).await? else { return Ok(None) };
                base
            } else {
                registry.base(&name, insecure, self.stop).await?
            };
            stand_in |= base.stand_in;
            bases.insert(name, base.digest);
        }
        Ok(Some((bases, stand_in)))
    }
}
