//! Work that a worker does: asked for once, watched to its end, ended when someone cancels or time is up.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use kfops_core::{Failure, Reason};
use tokio::time::{Instant, MissedTickBehavior};

use super::{Done, Driver, target::target};
use crate::{
    command::Source,
    gate::count,
    ports::{Snapshot, Work, WorkResult, WorkState},
    step::{Stage, StepState},
    verb::Verb,
};

/// A worker ends its work itself when time is up; this is for one that does not.
const GRACE: Duration = Duration::from_secs(60);
/// How long a worker may take to end what somebody cancels: a rollout restores what was live.
const ENDING: Duration = Duration::from_secs(300);

impl Driver {
    pub(super) async fn work(&mut self, stage: Stage) -> Result<Done, Failure> {
        let engine = Arc::clone(&self.engine);
        let Some((work, limit)) = self.wanted(stage).await? else {
            return Ok(Done::Skipped("kfops.yaml names no images".into()));
        };
        let id = self.command.resource(stage);
        if stage == Stage::Rollout {
            self.note_replaced().await?;
        }
        engine.workers.start(&id, &work, &self.context(stage), limit).await?;
        // It may take hours from here on, and nothing of it is needed again.
        drop(work);
        let started = self.command.step(stage).and_then(|step| step.start).unwrap_or_else(|| engine.clock.now());
        let passed = engine.clock.now().duration_since(started).unwrap_or_default();
        let deadline = tokio::time::sleep((limit + GRACE).saturating_sub(passed));
        tokio::pin!(deadline);
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stopping = engine.lifecycle.stopping();
        let wish = Arc::clone(&self.wish);
        let mut snapshots = engine.workers.watch(stage, &id);
        let mut overdue = false;
        loop {
            // What is shown as it stands needs no look every second: there may be thousands of it.
            let restless = self.restless();
            tokio::select! {
                    biased;
                () = wish.notified() => {
                    self.hear().await?;
                    if self.command.cancel || self.command.superseded() {
                        return Ok(Done::Interrupted);
                    }
                }
                () = stopping.cancelled() => return Ok(Done::Stopping),
                snapshot = snapshots.next() => {
                    let away = || Failure::new(Reason::WorkerUnavailable, format!("the watch of {id} was cut off"));
                    let snapshot = snapshot.ok_or_else(away)??;
                    self.trouble = None;
                    self.absorb(stage, &id, &snapshot).await?;
                    if snapshot.state != WorkState::Open {
                        return Ok(self.verdict(stage, &id, snapshot, overdue.then_some(limit)));
                    }
                    self.publish_progress().await?;
                }
                _ = tick.tick(), if restless => self.publish_progress().await?,
                () = &mut deadline => {
                    if overdue {
                        return Ok(Done::No(endless(stage, &id, limit)));
                    }
                    overdue = true;
                    engine.workers.cancel(stage, &id).await?;
                    deadline.as_mut().reset(Instant::now() + GRACE);
                }
            }
        }
    }

    /// Ends what is under way and looks how it ended: it may have been done already.
    pub(super) async fn end_work(&mut self, stage: Stage) -> Result<Done, Failure> {
        let engine = Arc::clone(&self.engine);
        let id = self.command.resource(stage);
        match engine.workers.cancel(stage, &id).await {
            // It was never asked for.
            Err(failure) if failure.reason == Reason::NotFound => return Ok(Done::Canceled),
            Err(failure) => return Err(failure),
            Ok(()) => {}
        }
        let stopping = engine.lifecycle.stopping();
        let mut snapshots = engine.workers.watch(stage, &id);
        let late = tokio::time::sleep(ENDING);
        tokio::pin!(late);
        loop {
            let next = tokio::select! {
                    biased;
                next = snapshots.next() => next,
                () = &mut late => return Ok(Done::No(endless(stage, &id, ENDING))),
                () = stopping.cancelled() => return Ok(Done::Stopping),
            };
            let Some(snapshot) = next.transpose()? else {
                return Err(Failure::new(Reason::WorkerUnavailable, format!("the watch of {id} was cut off")));
            };
            self.absorb(stage, &id, &snapshot).await?;
            if snapshot.state == WorkState::Failed {
                return Ok(Done::Canceled);
            }
            if snapshot.state != WorkState::Open {
                return Ok(self.verdict(stage, &id, snapshot, None));
            }
        }
    }

    pub(super) async fn tag(&mut self) -> Result<Done, Failure> {
        if self.command.progress(Stage::Build) == StepState::Skipped {
            return Ok(Done::Skipped(String::new()));
        }
        let engine = Arc::clone(&self.engine);
        let version = self.command.lineage.version.clone().unwrap_or_default();
        let build = self.command.resource(Stage::Build);
        engine.workers.tag(&build, &version, &self.context(Stage::Tag)).await?;
        Ok(Done::Yes(version))
    }

    /// What the worker is asked for, and how long it may take. Always the same for the same command.
    async fn wanted(&mut self, stage: Stage) -> Result<Option<(Work, Duration)>, Failure> {
        if self.command.verb == Verb::Rollback {
            return self.restoring().map(Some);
        }
        let project = self.project().await?;
        let inference_service = if stage == Stage::Rollout { self.target_name().await? } else { String::new() };
        let command = &self.command;
        let lineage = &command.lineage;
        let missing = |what: &str| Failure::internal(format!("{what} is not known yet"));
        let source: Source = lineage.source.clone().ok_or_else(|| missing("the source"))?;
        let repository = command.repository.to_string();
        let options = command.options();
        Ok(Some(match stage {
            Stage::Build => {
                let named = |name: &String| options.images.is_empty() || options.images.contains(name);
                let images: Vec<_> = project.images.build.iter().filter(|image| named(&image.name)).cloned().collect();
                if images.is_empty() {
                    return Ok(None);
                }
                let (registry, insecure) =
                    (project.images.registry.clone().unwrap_or_default(), project.images.insecure);
                (Work::Build { source, repository, images, registry, insecure }, project.timeouts.build.get())
            }
            Stage::Compile => {
                let images = lineage.images.clone();
                let work = Work::Compile { source, repository, pipeline: project.pipeline.clone(), images };
                (work, project.timeouts.compile.get())
            }
            Stage::Run => {
                let mut arguments = project.pipeline.arguments.clone();
                arguments.extend(options.set);
                let version = lineage.version.clone().ok_or_else(|| missing("the pipeline version"))?;
                let limit = project.pipeline.timeout.get();
                (Work::Run { version, arguments, pipeline: project.pipeline.clone() }, limit)
            }
            _ => {
                let (_, target) = target(&project, command.verb)?;
                let mut strategy = target.strategy.clone();
                if let Some(canary) = options.canary {
                    strategy.canary = canary;
                }
                let work = Work::Rollout {
                    source,
                    repository,
                    inference_service,
                    serving: project.serving.clone().ok_or_else(|| missing("serving"))?,
                    strategy,
                    model: lineage.model.clone().ok_or_else(|| missing("the model"))?,
                    run: lineage.run.clone().ok_or_else(|| missing("the run"))?,
                    fence: command.fence,
                };
                (work, project.timeouts.rollout.get())
            }
        }))
    }

    /// Takes over what a snapshot shows; stores it when it shows something new.
    async fn absorb(&mut self, stage: Stage, id: &str, snapshot: &Snapshot) -> Result<(), Failure> {
        let before = self.command.clone();
        self.command.set_parts(stage, snapshot.parts.clone());
        if !snapshot.log_key.is_empty() {
            self.command.step_mut(stage).log_key = snapshot.log_key.clone();
        }
        let done = snapshot.state == WorkState::Succeeded;
        let lineage = &mut self.command.lineage;
        match &snapshot.result {
            WorkResult::Build(images, reused) if done => {
                lineage.images = images.clone();
                lineage.reused = reused.clone();
            }
            WorkResult::Compile(digest) if done => {
                lineage.version = Some(id.to_owned());
                lineage.spec_digest = digest.clone();
            }
            WorkResult::Run(metrics, model) if done => {
                lineage.run = Some(id.to_owned());
                lineage.metrics = metrics.clone();
                lineage.model = model.clone();
            }
            WorkResult::Rollout(revision, previous, endpoint) => {
                lineage.revision = revision.clone();
                lineage.previous_revision = previous.clone();
                lineage.endpoint = endpoint.clone();
            }
            _ => {}
        }
        if done && stage == Stage::Build && !self.command.options().images.is_empty() {
            self.fill_images().await?;
        }
        if self.command == before { Ok(()) } else { self.engine.save(&mut self.command).await }
    }

    /// `/build trainer` keeps the other images of the build before.
    async fn fill_images(&mut self) -> Result<(), Failure> {
        let history = self.engine.history(&self.command).await?;
        let Some(before) = history.iter().find(|other| other.progress(Stage::Build) == StepState::Succeeded) else {
            return Ok(());
        };
        let images = &mut self.command.lineage.images;
        for image in &before.lineage.images {
            if !images.iter().any(|known| known.name == image.name) {
                images.push(image.clone());
            }
        }
        Ok(())
    }

    fn verdict(&self, stage: Stage, id: &str, snapshot: Snapshot, overdue: Option<Duration>) -> Done {
        let name = format!("{}/{id}", stage.collection().unwrap_or_default());
        match snapshot.state {
            WorkState::Succeeded => match self.missing_model(stage, &name) {
                Some(failure) => Done::No(failure),
                None => Done::Yes(self.summary(stage, id)),
            },
            WorkState::Canceled if overdue.is_none() => Done::Canceled,
            _ => {
                let late = overdue.map(|limit| {
                    let limit = humantime::format_duration(limit);
                    Failure::new(Reason::DeadlineExceeded, format!("{name} took longer than {limit} and was ended"))
                        .on(&name)
                        .action("make it faster, or allow it more under timeouts of kfops.yaml")
                });
                let nameless = || Failure::internal(format!("{name} failed without a reason")).on(&name);
                Done::No(late.or(snapshot.failure).unwrap_or_else(nameless))
            }
        }
    }

    /// A `/ship` has no use for a run without a model.
    fn missing_model(&self, stage: Stage, name: &str) -> Option<Failure> {
        let wanted = stage == Stage::Run && self.command.verb.environment().is_some();
        (wanted && self.command.lineage.model.is_none()).then(|| {
            Failure::new(Reason::ModelMissing, format!("{name} wrote no model"))
                .on(name)
                .action("write one as pipeline.model of kfops.yaml says")
        })
    }

    fn summary(&self, stage: Stage, id: &str) -> String {
        let lineage = &self.command.lineage;
        match stage {
            Stage::Build => {
                let built = lineage.images.len().saturating_sub(lineage.reused.len());
                format!("{} built, {} reused", count(built as u64, "image"), lineage.reused.len())
            }
            Stage::Compile => format!("version {id}"),
            Stage::Run => {
                let metrics = lineage.metrics.iter().take(3).map(|(name, value)| format!("{name} {value:.4}"));
                [id.to_owned()].into_iter().chain(metrics).collect::<Vec<_>>().join(" · ")
            }
            _ if lineage.previous_revision.is_empty() => format!("{} is live, the first", lineage.revision),
            _ => format!("{} is live in place of {}", lineage.revision, lineage.previous_revision),
        }
    }
}

/// A worker does not end what it was told to: others must not wait for it for ever. Should it be a rollout, the fence of
/// whoever gets the lock next keeps it from the traffic.
fn endless(stage: Stage, id: &str, limit: Duration) -> Failure {
    let name = format!("{}/{id}", stage.collection().unwrap_or_default());
    let limit = humantime::format_duration(limit);
    Failure::new(
        Reason::DeadlineExceeded,
        format!("{name} does not end though it was told to, and is not waited for after {limit}"),
    )
    .on(&name)
    .action("look at its worker and end it there, then /retry")
}
