//! The port to the workers.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt as _, stream::BoxStream};
use kfops_core::{Failure, Reason, TraceContext};
use kfops_scm_bot::{
    command::Model,
    ports::{
        BuildRecord, Live, Preview, Revision, RolloutRecord, Run, Snapshot, Version, Work, WorkResult, WorkState,
        Workers,
    },
    step::Stage,
};

use super::{
    State, World,
    gate::Port,
    jobs::{Jobs, images, stage_of, trained},
};

pub(crate) struct SimWorkers(pub(crate) Arc<World>);

impl SimWorkers {
    async fn ask<T>(
        &self,
        name: &'static str,
        writes: bool,
        effect: impl FnOnce(&mut Jobs, Duration) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.0.call(Port::Workers, name, writes, |state, now| effect(&mut state.jobs, now)).await
    }
}

fn run_of(jobs: &Jobs, id: &str) -> Result<Run, Failure> {
    let job = jobs.get(Stage::Run, id)?;
    let Work::Run { version, arguments, .. } = &job.work else { return Err(Failure::internal("not a run")) };
    let Work::Compile { source, .. } = &jobs.get(Stage::Compile, version)?.work else {
        return Err(Failure::internal("not a version"));
    };
    let succeeded = job.state == WorkState::Succeeded;
    let (metrics, model) = trained(job, version);
    Ok(Run {
        succeeded,
        commit: source.commit.clone(),
        version: version.clone(),
        arguments: arguments.clone(),
        metrics,
        model: model.filter(|_| succeeded),
    })
}

fn rollout_of(jobs: &Jobs, id: &str) -> Result<RolloutRecord, Failure> {
    let job = jobs.get(Stage::Rollout, id)?;
    let Work::Rollout { source, serving, model, run, .. } = &job.work else {
        return Err(Failure::internal("not a rollout"));
    };
    Ok(RolloutRecord {
        succeeded: job.state == WorkState::Succeeded,
        source: source.clone(),
        serving: serving.clone(),
        model: model.clone(),
        run: run.clone(),
        revision: job.revision.clone(),
        previous_revision: job.previous.clone(),
    })
}

fn revisions_of(jobs: &Jobs, target: &str) -> Vec<Revision> {
    let Some(service) = jobs.services.get(target) else { return Vec::new() };
    let shown = service.revisions.iter().rev().map(|(name, rollout)| {
        let record = rollout_of(jobs, rollout).ok();
        let percent = match &service.canary {
            Some((canary, percent)) if canary == name => *percent,
            Some((_, percent)) if service.live.as_ref() == Some(name) => 100 - percent,
            None if service.live.as_ref() == Some(name) => 100,
            _ => 0,
        };
        Revision {
            name: name.clone(),
            state: "ready".into(),
            percent,
            model: record.as_ref().map_or_else(Model::default, |record| record.model.clone()),
            run: record.as_ref().map_or_else(String::new, |record| record.run.clone()),
            rollout: rollout.clone(),
            commit: record.as_ref().map_or_else(String::new, |record| record.source.commit.clone()),
            manifest: format!(
                "kind: InferenceService # {}\n{}",
                record.as_ref().map_or("", |record| &record.model.uri),
                jobs.templates.get(name).map_or("", String::as_str)
            ),
            unanswered: if service.live.as_ref() == Some(name) { service.unanswered.clone() } else { String::new() },
        }
    });
    shown.collect()
}

/// Whoever begins a rollout holds the lock of its target.
fn check_lock(state: &mut State, id: &str, target: &str, fence: u64) {
    let lock = state.book.locks.get(target);
    let holder = lock.and_then(|lock| lock.holder.clone()).and_then(|holder| state.book.commands.get(&holder));
    let mine = holder.is_some_and(|command| command.resource(Stage::Rollout) == id);
    if (!mine || lock.map(|lock| lock.fence) != Some(fence))
        && let Some(service) = state.jobs.services.get_mut(target)
    {
        service.overlaps.push(format!("{id} began under fence {fence}, and did not hold the lock"));
    }
}

#[async_trait]
impl Workers for SimWorkers {
    async fn start(&self, id: &str, work: &Work, trace: &TraceContext, _: Duration) -> Result<(), Failure> {
        let (id, work, trace) = (id.to_owned(), work.clone(), *trace);
        let effect = move |state: &mut State, now| {
            let new = state.jobs.get(stage_of(&work), &id).is_err();
            state.jobs.start(&id, &work, &trace, now)?;
            if let Work::Rollout { inference_service, fence, .. } = &work
                && new
            {
                check_lock(state, &id, inference_service, *fence);
            }
            Ok(())
        };
        self.0.call(Port::Workers, "start", true, effect).await
    }

    fn watch(&self, stage: Stage, id: &str) -> BoxStream<'static, Result<Snapshot, Failure>> {
        let (world, id) = (Arc::clone(&self.0), id.to_owned());
        let cut = {
            let mut gate = world.gate();
            let passed = world.time.passed();
            // A stream may be cut off after a while.
            gate.weather.as_mut().and_then(|weather| {
                let cut = passed < weather.until && weather.rng.chance(300);
                cut.then(|| passed + Duration::from_millis(weather.rng.between(1, 30_000)))
            })
        };
        let opened = async move {
            let there = world.call(Port::Workers, "watch", false, |state, _| state.jobs.get(stage, &id).map(drop));
            (there.await, world, id)
        };
        futures::stream::once(opened)
            .flat_map(move |(there, world, id)| match there {
                Err(failure) => futures::stream::once(async { Err(failure) }).boxed(),
                Ok(()) => snapshots(world, stage, id, cut),
            })
            .boxed()
    }

    async fn cancel(&self, stage: Stage, id: &str) -> Result<(), Failure> {
        let id = id.to_owned();
        self.ask("cancel", true, move |jobs, now| jobs.cancel(stage, &id, now)).await
    }

    async fn preview(&self, work: &Work) -> Result<Preview, Failure> {
        let work = work.clone();
        self.ask("preview", false, move |jobs, _| match &work {
            Work::Build { .. } => {
                let there = |image: &kfops_scm_bot::command::Image| {
                    jobs.of("builds").iter().flat_map(|job| images(&job.work)).any(|known| known.digest == image.digest)
                };
                Ok(Preview::Build(images(&work).iter().map(|image| (image.name.clone(), there(image))).collect()))
            }
            Work::Rollout { inference_service, model, .. } => Ok(Preview::Rollout(format!(
                "kind: InferenceService # {inference_service}\nstorageUri: {}\n",
                model.uri
            ))),
            _ => Err(Failure::new(Reason::InvalidArgument, "only builds and rollouts can be previewed")),
        })
        .await
    }

    async fn promote(&self, rollout: &str) -> Result<(), Failure> {
        let id = rollout.to_owned();
        self.ask("promote", true, move |jobs, _| jobs.promote(&id)).await
    }

    async fn build(&self, id: &str) -> Result<BuildRecord, Failure> {
        let id = id.to_owned();
        self.ask("build", false, move |jobs, _| {
            let job = jobs.get(Stage::Build, &id)?;
            let Work::Build { source, .. } = &job.work else { return Err(Failure::internal("not a build")) };
            Ok(BuildRecord {
                succeeded: job.state == WorkState::Succeeded,
                commit: source.commit.clone(),
                images: images(&job.work),
            })
        })
        .await
    }

    async fn rollout(&self, id: &str) -> Result<RolloutRecord, Failure> {
        let id = id.to_owned();
        self.ask("rollout", false, move |jobs, _| rollout_of(jobs, &id)).await
    }

    async fn revisions(&self, target: &str) -> Result<Vec<Revision>, Failure> {
        let target = target.to_owned();
        self.ask("revisions", false, move |jobs, _| Ok(revisions_of(jobs, &target))).await
    }

    async fn tag(&self, build: &str, tag: &str, _: &TraceContext) -> Result<(), Failure> {
        let (build, tag) = (build.to_owned(), tag.to_owned());
        self.ask("tag", true, move |jobs, _| jobs.tag(&build, &tag)).await
    }

    async fn version(&self, id: &str) -> Result<Version, Failure> {
        let id = id.to_owned();
        self.ask("version", false, move |jobs, _| {
            let job = jobs.get(Stage::Compile, &id)?;
            let Work::Compile { source, images, repository, .. } = &job.work else {
                return Err(Failure::internal("not a version"));
            };
            let WorkResult::Compile(spec_digest) = jobs.snapshot(job).result else {
                return Err(Failure::internal("not a version"));
            };
            Ok(Version {
                ready: job.state == WorkState::Succeeded,
                source: source.clone(),
                images: images.clone(),
                spec_digest,
                repository: repository.clone(),
            })
        })
        .await
    }

    async fn run(&self, id: &str) -> Result<Run, Failure> {
        let id = id.to_owned();
        self.ask("run", false, move |jobs, _| run_of(jobs, &id)).await
    }

    async fn live(&self, target: &str) -> Result<Option<Live>, Failure> {
        let target = target.to_owned();
        self.ask("live", false, move |jobs, _| {
            let live = jobs.services.get(&target).and_then(|service| service.live.clone());
            let shown = revisions_of(jobs, &target).into_iter().find(|revision| Some(&revision.name) == live.as_ref());
            Ok(shown.map(|revision| Live {
                endpoint: format!("http://serving.example.com/{}", revision.name),
                revision: revision.name,
                model: revision.model,
                commit: revision.commit,
                run: revision.run,
                unanswered: revision.unanswered,
            }))
        })
        .await
    }
}

/// Whole snapshots: the newest at once, then whenever something is other than before.
fn snapshots(
    world: Arc<World>,
    stage: Stage,
    id: String,
    cut: Option<Duration>,
) -> BoxStream<'static, Result<Snapshot, Failure>> {
    let changed = world.changed.subscribe();
    let begin = (world, changed, None::<Snapshot>);
    futures::stream::unfold(begin, move |(world, mut changed, shown)| {
        let id = id.clone();
        async move {
            if shown.as_ref().is_some_and(|shown| shown.state != WorkState::Open) {
                return None;
            }
            loop {
                if world.gate().dead {
                    return std::future::pending().await;
                }
                changed.mark_unchanged();
                let (snapshot, due) = world.look(|state| {
                    let job = state.jobs.get(stage, &id).ok();
                    (job.map(|job| state.jobs.snapshot(job)), state.jobs.due())
                });
                let snapshot = snapshot?;
                if shown.as_ref() != Some(&snapshot) {
                    return Some((Ok(snapshot.clone()), (world, changed, Some(snapshot))));
                }
                let passed = world.time.passed();
                if cut.is_some_and(|cut| cut <= passed) {
                    return None;
                }
                let next = [due, cut].into_iter().flatten().min().map(|at| at.saturating_sub(passed));
                // A little late: what is due is then over.
                let wait = next.map_or(Duration::from_secs(3600), |wait| wait + Duration::from_millis(1));
                tokio::select! {
                    biased;
                    _ = changed.changed() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    })
    .boxed()
}
