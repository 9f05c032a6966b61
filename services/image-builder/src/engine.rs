//! Drives builds: creates, resumes, cancels and tags them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use futures::future::{join_all, try_join_all};
use kfops_core::{Failure, Reason};
use kfops_resource::{Created, Table};
use kfops_rpc::Lifecycle;
use kfops_store::Store;
use kfops_telemetry::{Span, metrics::worked};
use tokio::sync::{OnceCell, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{
    build::{Build, KnownContent, State},
    image::ImageWork,
    known::Known,
    ports::{Ports, Repository, Target},
    reference::{is_path, is_tag},
    settings::Settings,
};

mod preview;

/// Tags of one build.
const MAX_TAGS: usize = 100;

/// All builds of this service.
pub(crate) struct Engine {
    pub(crate) builds: Table<Build>,
    pub(crate) known: Known,
    pub(crate) store: Store,
    pub(crate) ports: Ports,
    pub(crate) settings: Settings,
    pub(crate) slots: Semaphore,
    previews: Semaphore,
    running: Mutex<HashMap<String, CancellationToken>>,
    lifecycle: Lifecycle,
}

impl Engine {
    pub(crate) fn open(settings: Settings, ports: Ports, lifecycle: Lifecycle) -> Result<Self, Failure> {
        let database = settings.state.join("image-builder.db");
        let builds = Table::open(&database)?;
        let contents: Table<KnownContent> = Table::open(&database)?;
        let store = Store::open(&settings.store)?;
        let slots = Semaphore::new(settings.parallel.max(1));
        let known = Known::new(contents, Arc::clone(&ports.registry));
        let previews = Semaphore::new(preview::AT_A_TIME);
        Ok(Self { builds, known, store, ports, settings, slots, previews, running: Mutex::default(), lifecycle })
    }

    /// Goes on with what a former process left open.
    pub(crate) async fn resume(self: &Arc<Self>) -> Result<(), Failure> {
        for build in self.builds.open_records().await? {
            tracing::info!(build = build.id, "resumed");
            self.start(build.id);
        }
        Ok(())
    }

    pub(crate) async fn create(self: &Arc<Self>, build: Build) -> Result<Build, Failure> {
        build.request.validate()?;
        if self.lifecycle.stopping().is_cancelled() {
            return Err(Failure::new(Reason::WorkerUnavailable, "the image builder is stopping").action("try again"));
        }
        match self.builds.create(build).await? {
            Created::New(build) => {
                tracing::info!(build = build.id, images = build.request.images.len(), "created");
                self.start(build.id.clone());
                Ok(build)
            }
            Created::Existing(build) => Ok(build),
        }
    }

    pub(crate) async fn cancel(&self, id: &str) -> Result<Build, Failure> {
        let build = self
            .builds
            .update(id, |build| {
                if !build.state.ended() {
                    build.cancel_requested = true;
                }
            })
            .await?;
        if let Some(stop) = self.lock_running().get(id) {
            stop.cancel();
        }
        Ok(build)
    }

    pub(crate) async fn tag(&self, id: &str, tag: &str) -> Result<Build, Failure> {
        if !is_tag(tag) {
            return Err(Failure::new(
                Reason::InvalidArgument,
                "a tag has 1 to 128 characters of [A-Za-z0-9_.-], and starts with none of `.-`",
            )
            .on("tag"));
        }
        let build = self.builds.get(id).await?;
        if build.state != State::Succeeded {
            let failure = Failure::new(
                Reason::ImageBuildFailed,
                format!("{} has no images to tag: it has not succeeded", build.name()),
            );
            return Err(Failure { retryable: !build.state.ended(), ..failure.on(build.name()) });
        }
        if build.tags.len() >= MAX_TAGS && !build.tags.iter().any(|t| t == tag) {
            return Err(Failure::new(Reason::InvalidArgument, format!("a build has at most {MAX_TAGS} tags")).on("tag"));
        }
        let insecure = self.insecure(&build);
        try_join_all(build.results.iter().map(async |result| {
            let repository = self.place(result.repository.clone(), insecure, build.request.registry.is_empty());
            match &result.digest {
                Some(digest) => self.ports.registry.tag(&repository, digest, tag).await,
                None => Err(Failure::internal(format!("image {} succeeded without a digest", result.name))),
            }
        }))
        .await?;
        let (tag, now) = (tag.to_owned(), self.ports.clock.now());
        self.builds
            .update(id, move |build| {
                if !build.tags.contains(&tag) {
                    build.tags.push(tag);
                    build.update_time = now;
                }
            })
            .await
    }

    pub(crate) fn insecure(&self, build: &Build) -> bool {
        if build.request.registry.is_empty() { self.ports.default_target.insecure } else { build.request.insecure }
    }

    /// Where an image of this build lies. In the default registry, repositories of different projects are kept apart.
    pub(crate) fn repository(&self, build: &Build, image: &str) -> Repository {
        let insecure = self.insecure(build);
        if !build.request.registry.is_empty() {
            return self.place(format!("{}/{image}", build.request.registry), insecure, false);
        }
        let prefix = &self.ports.default_target.prefix;
        let project = build.request.repository.to_lowercase();
        let name = if is_path(&project) { format!("{prefix}/{project}/{image}") } else { format!("{prefix}/{image}") };
        self.place(name, insecure, true)
    }

    fn place(&self, name: String, insecure: bool, default: bool) -> Repository {
        match &self.ports.keeps_all {
            Some(Target { prefix, insecure }) if !default => {
                // A registry's port is no part of a path.
                let location = format!("{prefix}/{}", name.replace(':', "-").to_lowercase());
                Repository { name, location, insecure: *insecure }
            }
            _ => Repository { location: name.clone(), name, insecure },
        }
    }

    fn start(self: &Arc<Self>, id: String) {
        let stop = self.lifecycle.aborting().child_token();
        self.lock_running().insert(id.clone(), stop.clone());
        let engine = Arc::clone(self);
        self.lifecycle.spawn(async move {
            if let Err(failure) = engine.drive(&id, &stop).await
                && !engine.aborted()
                && let Err(failure) = engine.give_up(&id, failure).await
            {
                // The database cannot even be read: the record stays open and is resumed at the next start.
                tracing::error!(build = id, %failure, "not driven to its end");
            }
            engine.lock_running().remove(&id);
        });
    }

    async fn drive(self: &Arc<Self>, id: &str, stop: &CancellationToken) -> Result<(), Failure> {
        let now = self.ports.clock.now();
        let build = self
            .builds
            .update(id, move |build| {
                build.state = State::Running;
                build.update_time = now;
            })
            .await?;
        if build.cancel_requested {
            stop.cancel();
        }
        let work = self.settings.state.join("work").join(id);
        remove_folder(work.clone()).await;
        let source = OnceCell::new();
        let images =
            (0..build.request.images.len()).filter(|i| build.results.get(*i).is_some_and(|r| !r.state.ended()));
        let outcomes = join_all(images.map(|index| {
            let image =
                ImageWork { engine: self, build: &build, index, work: &work, source: &source, stop, preview: false };
            image.run()
        }))
        .await;
        remove_folder(work).await;
        outcomes.into_iter().collect::<Result<Vec<()>, Failure>>()?;
        if self.aborted() {
            return Ok(());
        }
        self.finish(id).await
    }

    /// The database failed in the middle.
    async fn give_up(&self, id: &str, failure: Failure) -> Result<(), Failure> {
        tracing::error!(build = id, %failure, "given up");
        let now = self.ports.clock.now();
        let end = move |build: &mut Build| {
            let failure = failure.on(build.name());
            for result in build.results.iter_mut().filter(|result| !result.state.ended()) {
                (result.state, result.end_time, result.failure) = (State::Failed, Some(now), Some(failure.clone()));
            }
            (build.state, build.failure) = outcome(build);
            (build.update_time, build.end_time) = (now, Some(now));
        };
        self.builds.update_anyway(id, end).await.map(|_| ())
    }

    /// Canceled when the process is about to end.
    pub(crate) fn leaving(&self) -> CancellationToken {
        self.lifecycle.aborting()
    }

    /// The process is about to end: what is not done stays open.
    pub(crate) fn aborted(&self) -> bool {
        self.lifecycle.aborting().is_cancelled()
    }

    async fn finish(&self, id: &str) -> Result<(), Failure> {
        let now = self.ports.clock.now();
        let end = move |build: &mut Build| {
            (build.state, build.failure) = outcome(build);
            (build.update_time, build.end_time) = (now, Some(now));
        };
        let mut build = self.builds.get(id).await?;
        end(&mut build);
        tracing::info!(build = build.id, state = ?build.state, "ended");
        worked("builds", build.failure.as_ref(), (build.create_time, now));
        if let Some(caller) = &build.trace {
            let span = Span::child(caller, &build.name(), "build", build.create_time, now)
                .with("kfops.build", build.name())
                .with("kfops.build.images", i64::try_from(build.results.len()).unwrap_or_default())
                .failed(build.failure.as_ref().map(|failure| failure.message.clone()));
            // Before the end is kept: a span that is sent twice does less harm than one that is lost.
            self.ports.tracer.record(span);
            self.ports.tracer.flush_before_end().await;
        }
        self.builds.update_anyway(id, end).await?;
        Ok(())
    }

    fn lock_running(&self) -> std::sync::MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the outcomes of the images mean for the build.
fn outcome(build: &Build) -> (State, Option<Failure>) {
    let failed: Vec<&str> =
        build.results.iter().filter(|r| r.state == State::Failed).map(|r| r.name.as_str()).collect();
    if let Some(first) = build.results.iter().find_map(|r| r.failure.as_ref().filter(|_| r.state == State::Failed)) {
        let mut failure = first.clone();
        if failed.len() > 1 {
            let names: BTreeSet<&str> = failed.iter().copied().collect();
            let names: Vec<&str> = names.into_iter().collect();
            failure.message = format!(
                "{} ({} of {} images failed: {})",
                failure.message,
                failed.len(),
                build.results.len(),
                names.join(", ")
            );
        }
        return (State::Failed, Some(failure));
    }
    if build.results.iter().all(|r| r.state == State::Succeeded) {
        return (State::Succeeded, None);
    }
    let failure = Failure::new(Reason::Canceled, format!("{} was canceled", build.name())).on(build.name());
    (State::Canceled, Some(failure))
}

async fn remove_folder(folder: std::path::PathBuf) {
    let removed = tokio::fs::remove_dir_all(&folder).await;
    if let Err(error) = removed
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(folder = %folder.display(), %error, "cannot remove");
    }
}
