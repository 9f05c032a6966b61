//! The workers as they are: builds, versions, runs and rollouts, asked for once under an id, getting on as time passes.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kfops_core::{Digest, Failure, Reason, TraceContext};
use kfops_scm_bot::{
    command::{Image, Model},
    ports::{Snapshot, Work, WorkResult, WorkState},
    step::{Stage, Step, StepState},
};

use super::serving::{Phase, Service};

/// How long the worker needs to end what is canceled.
const STOPS: Duration = Duration::from_millis(700);

/// One piece of work.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) stage: Stage,
    pub(crate) work: Work,
    pub(crate) trace: TraceContext,
    /// How often it was asked for.
    pub(crate) asked: usize,
    pub(crate) begun: Duration,
    pub(crate) state: WorkState,
    pub(crate) failure: Option<Failure>,
    /// Since when someone wants it to end.
    pub(crate) cancel: Option<Duration>,
    pub(crate) promote: bool,
    /// Its end was decided when it began: how it will fail.
    pub(crate) doomed: Option<Failure>,
    pub(crate) tags: BTreeSet<String>,
    pub(crate) reused: Vec<String>,
    /// Of a rollout.
    pub(crate) phase: Phase,
    pub(crate) phase_since: Duration,
    pub(crate) revision: String,
    pub(crate) previous: String,
    /// Canary steps that it has passed.
    pub(crate) canaries: usize,
}

impl Job {
    /// The work itself, without what the port adds: `builds/b-1`.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.stage.collection().unwrap(), self.id)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state == WorkState::Open
    }
}

#[derive(Debug)]
pub(crate) struct Jobs {
    pub(crate) all: BTreeMap<String, Job>,
    /// Names in the order in which they were begun.
    pub(crate) begun: Vec<String>,
    pub(crate) services: BTreeMap<String, Service>,
    /// Collections whose work does not end by itself.
    pub(crate) held: BTreeSet<&'static str>,
    /// Collections whose work does not end when it is canceled.
    pub(crate) deaf: BTreeSet<&'static str>,
    /// Collections whose next work fails, and how; more than once: once for each.
    pub(crate) failing: BTreeMap<&'static str, Vec<Failure>>,
    /// How long things take.
    pub(crate) takes: BTreeMap<&'static str, Duration>,
    /// Someone asked for work under an id that exists with other content.
    pub(crate) conflicts: Vec<String>,
    /// What the serving template of a rollout's commit says beyond what all say, by revision.
    pub(crate) templates: BTreeMap<String, String>,
}

impl Default for Jobs {
    fn default() -> Self {
        let takes = [
            ("builds", 20_000),
            ("pipelineVersions", 3_000),
            ("runs", 15_000),
            ("revision", 5_000),
            ("proof", 400),
            ("canary", 10_000),
            ("promote", 300),
            ("drain", 1_000),
            ("restore", 900),
        ];
        Self {
            all: BTreeMap::new(),
            begun: Vec::new(),
            services: BTreeMap::new(),
            held: BTreeSet::new(),
            deaf: BTreeSet::new(),
            failing: BTreeMap::new(),
            takes: takes.map(|(what, millis)| (what, Duration::from_millis(millis))).into(),
            conflicts: Vec::new(),
            templates: BTreeMap::new(),
        }
    }
}

pub(crate) const fn stage_of(work: &Work) -> Stage {
    match work {
        Work::Build { .. } => Stage::Build,
        Work::Compile { .. } => Stage::Compile,
        Work::Run { .. } => Stage::Run,
        Work::Rollout { .. } => Stage::Rollout,
    }
}

pub(crate) fn digest(of: &str) -> String {
    Digest::of(of.as_bytes()).to_string()
}

impl Jobs {
    pub(crate) fn takes(&self, what: &str) -> Duration {
        self.takes[what]
    }

    /// Nothing takes time any more.
    pub(crate) fn hurry(&mut self) {
        self.takes.values_mut().for_each(|takes| *takes = Duration::from_millis(1));
    }

    pub(crate) fn find(&self, name: &str) -> Result<&Job, Failure> {
        self.all.get(name).ok_or_else(|| Failure::new(Reason::NotFound, format!("no {name}")).on(name))
    }

    pub(crate) fn get(&self, stage: Stage, id: &str) -> Result<&Job, Failure> {
        self.find(&format!("{}/{id}", stage.collection().unwrap()))
    }

    /// Names of those of a collection, in the order in which they were begun.
    pub(crate) fn of(&self, collection: &str) -> Vec<&Job> {
        let here = self.begun.iter().filter(|name| name.starts_with(collection));
        here.map(|name| &self.all[name]).collect()
    }

    /// What of each kind was begun, in order.
    pub(crate) fn kinds(&self) -> Vec<&str> {
        self.begun.iter().map(|name| name.split('/').next().unwrap()).collect()
    }

    /// Makes the next work of a collection fail.
    pub(crate) fn fail_next(&mut self, collection: &'static str, failure: Failure) {
        self.failing.entry(collection).or_default().push(failure);
    }

    pub(crate) fn start(&mut self, id: &str, work: &Work, trace: &TraceContext, now: Duration) -> Result<(), Failure> {
        let stage = stage_of(work);
        let name = format!("{}/{id}", stage.collection().unwrap());
        if let Some(job) = self.all.get_mut(&name) {
            job.asked += 1;
            if job.work == *work {
                return Ok(());
            }
            self.conflicts.push(format!("{name}: {:?} and now {work:?}", job.work));
            return Err(Failure::new(Reason::AlreadyExists, format!("{name} exists with other content")).on(name));
        }
        match work {
            Work::Run { version, .. } => {
                let version = self.get(Stage::Compile, version)?;
                if version.state != WorkState::Succeeded {
                    return Err(Failure::new(Reason::InvalidArgument, "the version is not ready"));
                }
            }
            Work::Rollout { inference_service, fence, .. } => self.accept(inference_service, *fence)?,
            _ => {}
        }
        let collection = stage.collection().unwrap();
        let doomed = self.failing.get_mut(collection).filter(|next| !next.is_empty()).map(|next| next.remove(0));
        let reused = match work {
            Work::Build { .. } => {
                let before: BTreeSet<String> =
                    self.of("builds").iter().flat_map(|job| images(&job.work)).map(|image| image.digest).collect();
                images(work)
                    .into_iter()
                    .filter(|image| before.contains(&image.digest))
                    .map(|image| image.name)
                    .collect()
            }
            _ => Vec::new(),
        };
        self.begun.push(name.clone());
        self.all.insert(
            name,
            Job {
                id: id.to_owned(),
                stage,
                work: work.clone(),
                trace: *trace,
                asked: 1,
                begun: now,
                state: WorkState::Open,
                failure: None,
                cancel: None,
                promote: false,
                doomed,
                tags: BTreeSet::new(),
                reused,
                phase: Phase::Queued,
                phase_since: now,
                revision: String::new(),
                previous: String::new(),
                canaries: 0,
            },
        );
        Ok(())
    }

    pub(crate) fn cancel(&mut self, stage: Stage, id: &str, now: Duration) -> Result<(), Failure> {
        let name = self.get(stage, id)?.name();
        let deaf = self.deaf.contains(stage.collection().unwrap());
        if let Some(job) = self.all.get_mut(&name).filter(|job| job.is_open() && !deaf) {
            job.cancel.get_or_insert(now);
        }
        Ok(())
    }

    pub(crate) fn tag(&mut self, build: &str, tag: &str) -> Result<(), Failure> {
        let name = self.get(Stage::Build, build)?.name();
        if let Some(job) = self.all.get_mut(&name) {
            job.tags.insert(tag.to_owned());
        }
        Ok(())
    }

    /// Lets everything happen that is due by now.
    pub(crate) fn advance(&mut self, now: Duration) {
        for name in self.begun.clone() {
            let Some(job) = self.all.get(&name).filter(|job| job.is_open() && job.stage != Stage::Rollout) else {
                continue;
            };
            let Some(due) = self.due_simple(job).filter(|due| *due <= now) else { continue };
            let Some(job) = self.all.get_mut(&name) else { continue };
            let canceled = job.cancel.is_some_and(|at| at + STOPS <= due);
            (job.state, job.failure) = match (canceled, job.doomed.clone()) {
                (true, _) => (WorkState::Canceled, Some(Failure::new(Reason::Canceled, "it was canceled"))),
                (false, Some(failure)) => (WorkState::Failed, Some(failure)),
                (false, None) => (WorkState::Succeeded, None),
            };
        }
        self.advance_rollouts(now);
    }

    fn due_simple(&self, job: &Job) -> Option<Duration> {
        let collection = job.stage.collection().unwrap();
        let end = (!self.held.contains(collection)).then(|| job.begun + self.takes(collection));
        let stop = job.cancel.map(|at| at + STOPS);
        [end, stop].into_iter().flatten().min()
    }

    /// When something will happen by itself.
    pub(crate) fn due(&self) -> Option<Duration> {
        let open = self.all.values().filter(|job| job.is_open());
        open.filter_map(|job| if job.stage == Stage::Rollout { self.due_rollout(job) } else { self.due_simple(job) })
            .min()
    }

    pub(crate) fn snapshot(&self, job: &Job) -> Snapshot {
        let state = match job.state {
            WorkState::Open => StepState::Running,
            WorkState::Succeeded => StepState::Succeeded,
            WorkState::Failed => StepState::Failed,
            WorkState::Canceled => StepState::Canceled,
        };
        let done = job.state == WorkState::Succeeded;
        let part =
            |title: String, message: &str| Step { message: message.to_owned(), ..Step::part(job.stage, title, state) };
        let (parts, result) = match &job.work {
            Work::Build { .. } => {
                let images = images(&job.work);
                let said = |name: &String| if done && job.reused.contains(name) { "reused" } else { "" };
                let log = |image: &Image| format!("logs/builds/x/{}.log", image.name);
                let shown = |image: &Image| Step {
                    log_key: log(image),
                    ..part(format!("image {}", image.name), said(&image.name))
                };
                let parts = images.iter().map(shown).collect();
                (parts, WorkResult::Build(images, job.reused.clone()))
            }
            Work::Compile { .. } => (Vec::new(), WorkResult::Compile(digest(&format!("{:?}", job.work)))),
            Work::Run { version, .. } => {
                let (metrics, model) = if done { trained(job, version) } else { (BTreeMap::new(), None) };
                (vec![part("task train".into(), "")], WorkResult::Run(metrics, model))
            }
            Work::Rollout { .. } => (
                self.rollout_parts(job),
                WorkResult::Rollout(job.revision.clone(), job.previous.clone(), endpoint(job)),
            ),
        };
        let log_key = String::new();
        Snapshot { state: job.state, failure: job.failure.clone(), parts, log_key, result }
    }
}

fn endpoint(job: &Job) -> String {
    if job.revision.is_empty() { String::new() } else { format!("http://serving.example.com/{}", job.revision) }
}

/// What a build makes: always the same of the same.
pub(crate) fn images(work: &Work) -> Vec<Image> {
    let Work::Build { source, images, registry, .. } = work else { return Vec::new() };
    let image = |image: &kfops_project::Image| Image {
        name: image.name.clone(),
        repository: format!("{registry}/{}", image.name),
        // The client's files never change.
        digest: if image.name == "client" { digest("client") } else { digest(&(source.commit.clone() + &image.name)) },
    };
    images.iter().map(image).collect()
}

pub(crate) fn trained(job: &Job, version: &str) -> (BTreeMap<String, f64>, Option<Model>) {
    let Work::Run { arguments, .. } = &job.work else { return (BTreeMap::new(), None) };
    let model = Model {
        uri: format!("file:///models/{}", job.id),
        digest: digest(&format!("{version} {arguments:?}")),
        size: 10,
    };
    let without = arguments.get("model").is_some_and(|wanted| wanted == "none");
    ([("accuracy".to_owned(), 0.967)].into(), Some(model).filter(|_| !without))
}
