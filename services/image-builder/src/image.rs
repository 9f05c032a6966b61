//! One image of a build, from its context to its digest.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use kfops_core::{Digest, Failure, Reason};
use kfops_process::LogTail;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::{
    build::{Build, ImageResult, State},
    engine::Engine,
    known::content_tag,
    ports::{Job, Pushed, Repository},
    request::ImageSpec,
    steps::{self, Step},
};

mod content;

use content::Content;

/// How often a growing log is put into the object store.
const LOG_INTERVAL: Duration = Duration::from_secs(3);
/// A log that grows beyond this ends its build.
const MAX_LOG: u64 = 256 << 20;
/// Of a longer log the end is stored.
const MAX_STORED_LOG: u64 = 16 << 20;

/// The work on one image.
pub(crate) struct ImageWork<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) build: &'a Build,
    pub(crate) index: usize,
    pub(crate) work: &'a Path,
    pub(crate) source: &'a OnceCell<PathBuf>,
    pub(crate) stop: &'a CancellationToken,
    /// Nothing is made: neither the image nor what it stands on.
    pub(crate) preview: bool,
}

/// An image that exists.
struct Done {
    digest: Digest,
    content: Digest,
    reused: bool,
}

impl ImageWork<'_> {
    /// Only a database that fails makes this fail; everything else is the image's outcome.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let permit = tokio::select! {
            permit = self.engine.slots.acquire() => permit.map_err(Failure::internal)?,
            () = self.stop.cancelled() => return self.end(None, &[], Err(canceled())).await,
        };
        let repository = self.engine.repository(self.build, &self.spec()?.name);
        let (now, name) = (self.engine.ports.clock.now(), repository.name.clone());
        let begun = self
            .update(move |result| {
                result.state = State::Running;
                result.repository = name;
                // After a restart the first start counts.
                result.start_time.get_or_insert(now);
            })
            .await?;
        let log = self.folder()?.join("log");
        let (mut steps, mut uploaded) = (Vec::new(), 0);
        let outcome = {
            let work = self.steps(&repository, &log, &mut steps);
            tokio::pin!(work);
            loop {
                tokio::select! {
                    outcome = &mut work => break outcome,
                    () = tokio::time::sleep(LOG_INTERVAL) => {}
                }
                let size = std::fs::metadata(&log).map_or(0, |metadata| metadata.len());
                if size > MAX_LOG {
                    break Err(log_too_large());
                }
                if size != uploaded {
                    self.upload(&log, &begun.log_key).await;
                    uploaded = size;
                }
            }
        };
        drop(permit);
        match &outcome {
            Ok(done) if done.reused => {
                note(&log, &format!("exists already: {}@{} (content {})", repository.name, done.digest, done.content))
            }
            Ok(done) => note(&log, &format!("pushed {}@{} (content {})", repository.name, done.digest, done.content)),
            Err(failure) => note(&log, &format!("{}: {}", failure.reason, failure.message)),
        }
        self.upload(&log, &begun.log_key).await;
        self.end(begun.start_time, &steps, outcome).await
    }

    async fn steps(&self, repository: &Repository, log: &Path, steps: &mut Vec<Step>) -> Result<Done, Failure> {
        let Some(Content { context, digest: content, stand_in }) = self.content(repository, steps).await? else {
            return Err(Failure::internal("a base image was not made"));
        };
        let spec = self.spec()?;
        let stored = content.clone();
        self.update(move |result| result.content = Some(stored)).await?;
        let building = self.engine.known.building(repository, &content);
        let _building = tokio::select! {
            guard = building.lock() => guard,
            () = self.stop.cancelled() => return Err(canceled()),
        };
        if let Some(digest) = self.or_stop(self.engine.known.find(repository, &content)).await? {
            return Ok(Done { digest, content, reused: true });
        }
        let job = Job {
            context: context.folder,
            dockerfile: context.dockerfile,
            build_args: spec.build_args.clone(),
            repository: repository.clone(),
            tag: content_tag(&content),
            stand_in,
            log: log.to_owned(),
            scratch: self.folder()?,
            timeout: self.engine.settings.build_timeout.get(),
            name: format!("{}/images/{}", self.build.name(), spec.name),
            trace: self.build.trace.map(|caller| steps::context(&caller, self.build, &spec.name).child("build")),
            leaving: self.engine.leaving(),
        };
        let Pushed { digest, .. } = self.built(&job, steps).await?;
        self.engine.known.remember(repository, &content, &digest).await?;
        Ok(Done { digest, content, reused: false })
    }

    /// Builds and pushes: two steps of one call.
    async fn built(&self, job: &Job, steps: &mut Vec<Step>) -> Result<Pushed, Failure> {
        let clock = &self.engine.ports.clock;
        let start = clock.now();
        let outcome = self.engine.ports.builder.build(job, self.stop).await;
        let end = clock.now();
        match &outcome {
            Ok(pushed) => {
                steps.push(Step { name: "build", start, end: pushed.built, error: None });
                steps.push(Step { name: "push", start: pushed.built, end, error: None });
            }
            Err(failure) => {
                let name = if failure.reason == Reason::ImagePushFailed { "push" } else { "build" };
                steps.push(Step { name, start, end, error: Some(failure.message.clone()) });
            }
        }
        outcome
    }

    /// Work that may be dropped in the middle when someone cancels.
    async fn or_stop<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(canceled()),
            done = work => done,
        }
    }

    async fn timed<T>(
        &self,
        steps: &mut Vec<Step>,
        name: &'static str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let clock = &self.engine.ports.clock;
        let start = clock.now();
        let outcome = work.await;
        let error = outcome.as_ref().err().map(|failure| failure.message.clone());
        steps.push(Step { name, start, end: clock.now(), error });
        outcome
    }

    /// Keeps the outcome and tells it to the trace; an abort is no outcome.
    async fn end(
        &self,
        start: Option<SystemTime>,
        steps: &[Step],
        outcome: Result<Done, Failure>,
    ) -> Result<(), Failure> {
        if outcome.is_err() && self.engine.aborted() {
            return Ok(());
        }
        let name = self.spec()?.name.clone();
        let resource = format!("{}/images/{name}", self.build.name());
        let outcome = outcome.map_err(|failure| Failure {
            message: format!("image {name}: {}", failure.message),
            ..failure.on(&resource)
        });
        let now = self.engine.ports.clock.now();
        let mut last = self.result().await?;
        last.end_time = Some(now);
        match outcome {
            Ok(done) => {
                (last.state, last.reused) = (State::Succeeded, done.reused);
                (last.digest, last.content) = (Some(done.digest), Some(done.content));
            }
            Err(failure) => {
                last.state = if failure.reason == Reason::Canceled { State::Canceled } else { State::Failed };
                last.failure = Some(failure);
            }
        }
        // Before the end is kept: a span that is sent twice does less harm than one that is lost.
        let tracer = &self.engine.ports.tracer;
        steps::record(tracer, self.build, &last, (start.unwrap_or(now), now), steps);
        tracer.flush_before_end().await;
        let result = self.update(move |result| *result = last).await?;
        tracing::info!(build = self.build.id, image = name, state = ?result.state, reused = result.reused, "image ended");
        Ok(())
    }

    /// As it stands.
    async fn result(&self) -> Result<ImageResult, Failure> {
        self.own(&self.engine.builds.get(&self.build.id).await?)
    }

    async fn update(&self, change: impl FnOnce(&mut ImageResult) + Send + 'static) -> Result<ImageResult, Failure> {
        let (index, now) = (self.index, self.engine.ports.clock.now());
        let build = self
            .engine
            .builds
            .update(&self.build.id, move |build| {
                build.update_time = now;
                if let Some(result) = build.results.get_mut(index) {
                    change(result);
                }
            })
            .await?;
        self.own(&build)
    }

    fn own(&self, build: &Build) -> Result<ImageResult, Failure> {
        build.results.get(self.index).cloned().ok_or_else(|| Failure::internal("an image without a result"))
    }

    async fn upload(&self, log: &Path, key: &str) {
        let Ok(metadata) = std::fs::metadata(log) else { return };
        let stored = if metadata.len() <= MAX_STORED_LOG {
            self.engine.store.put_file(key, log).await
        } else {
            self.engine.store.put(key, LogTail::read(log, MAX_STORED_LOG)).await
        };
        if let Err(failure) = stored {
            tracing::warn!(key, %failure, "log not stored");
        }
    }

    fn spec(&self) -> Result<&ImageSpec, Failure> {
        self.build.request.images.get(self.index).ok_or_else(|| Failure::internal("an image without a specification"))
    }

    /// This image's own folder.
    fn folder(&self) -> Result<PathBuf, Failure> {
        let folder = self.work.join(format!("image-{}", self.index));
        std::fs::create_dir_all(&folder).map_err(|error| {
            Failure::new(Reason::StoreUnavailable, format!("cannot make {}: {error}", folder.display()))
        })?;
        Ok(folder)
    }
}

fn canceled() -> Failure {
    Failure::new(Reason::Canceled, "canceled")
}

fn log_too_large() -> Failure {
    Failure::new(Reason::ImageBuildFailed, format!("the build wrote more than {} MiB of log", MAX_LOG >> 20))
        .action("make the steps of the Dockerfile quieter")
}

/// One line of our own at the end of the builder's log.
fn note(log: &Path, text: &str) {
    let append = || writeln!(std::fs::OpenOptions::new().create(true).append(true).open(log)?, "kfops: {text}");
    if let Err(error) = append() {
        tracing::warn!(%error, "log not written");
    }
}
