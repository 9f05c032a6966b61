//! Workers and a GitHub of one story: model of run r-1 live as iris-00007. A test takes pieces away.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream::BoxStream};
use kfops_core::{Digest, Failure, Reason, SystemClock, TraceContext};
use kfops_rpc::Lifecycle;
use kfops_store::Store;
use kfops_telemetry::Tracer;
use tokio::sync::Notify;

use crate::{
    command::{Command, Image, Merging, Model, Origin, PullRequest, Repository, Source},
    driver::Driver,
    duty::Duty,
    engine::Engine,
    line::Line,
    local::SqliteLedger,
    manners::Manners,
    ports::*,
    settings::{MergeMethod, Settings},
    step::Stage,
    verb::Verb,
};

pub(super) const TARGET: &str = "namespaces/live/inferenceServices/iris";
pub(super) const COMMIT: &str = "3f2c1e73f2c1e73f2c1e73f2c1e73f2c1e73f2c1";

pub(super) fn digest(of: &str) -> String {
    Digest::of(of.as_bytes()).to_string()
}

/// What the workers know.
#[derive(Clone, Default)]
pub(super) struct Known {
    pub(super) revisions: Vec<Revision>,
    pub(super) rollouts: BTreeMap<String, RolloutRecord>,
    pub(super) runs: BTreeMap<String, Run>,
    pub(super) versions: BTreeMap<String, Version>,
    pub(super) builds: BTreeMap<String, BuildRecord>,
    pub(super) images: Vec<(String, bool)>,
    pub(super) manifest: String,
    pub(super) away: bool,
    pub(super) merged: bool,
}

#[derive(Clone)]
pub(super) struct World(pub(super) Arc<Mutex<Known>>);

impl World {
    fn get<T: Clone>(&self, id: &str, table: impl Fn(&Known) -> &BTreeMap<String, T>) -> Result<T, Failure> {
        let known = self.0.lock().unwrap();
        if known.away {
            return Err(Failure::new(Reason::WorkerUnavailable, "nobody answers"));
        }
        table(&known).get(id).cloned().ok_or_else(|| Failure::new(Reason::NotFound, format!("no {id}")))
    }
}

#[async_trait]
impl Workers for World {
    async fn start(&self, _: &str, _: &Work, _: &TraceContext, _: Duration) -> Result<(), Failure> {
        panic!("a verb that only reads begins no work")
    }
    fn watch(&self, _: Stage, _: &str) -> BoxStream<'static, Result<Snapshot, Failure>> {
        futures::stream::empty().boxed()
    }
    async fn cancel(&self, _: Stage, _: &str) -> Result<(), Failure> {
        panic!("a verb that only reads ends no work")
    }
    async fn preview(&self, work: &Work) -> Result<Preview, Failure> {
        let known = self.0.lock().unwrap();
        match work {
            _ if known.away => Err(Failure::new(Reason::WorkerUnavailable, "nobody answers")),
            Work::Build { .. } => Ok(Preview::Build(known.images.clone())),
            Work::Rollout { model, .. } => Ok(Preview::Rollout(known.manifest.replace("URI", &model.uri))),
            _ => panic!("no preview"),
        }
    }
    async fn promote(&self, _: &str) -> Result<(), Failure> {
        panic!("a verb that only reads promotes nothing")
    }
    async fn build(&self, id: &str) -> Result<BuildRecord, Failure> {
        self.get(id, |known| &known.builds)
    }
    async fn rollout(&self, id: &str) -> Result<RolloutRecord, Failure> {
        self.get(id, |known| &known.rollouts)
    }
    async fn revisions(&self, target: &str) -> Result<Vec<Revision>, Failure> {
        let revisions = self.0.lock().unwrap().revisions.clone();
        Ok(if target == TARGET { revisions } else { Vec::new() })
    }
    async fn tag(&self, _: &str, _: &str, _: &TraceContext) -> Result<(), Failure> {
        panic!("a verb that only reads tags nothing")
    }
    async fn version(&self, id: &str) -> Result<Version, Failure> {
        self.get(id, |known| &known.versions)
    }
    async fn run(&self, id: &str) -> Result<Run, Failure> {
        self.get(id, |known| &known.runs)
    }
    async fn live(&self, _: &str) -> Result<Option<Live>, Failure> {
        Ok(None)
    }
}

const PROJECT: &str = "apiVersion: kfops.dev/v1
kind: Project
pipeline: {name: iris, source: p.py, model: {task: train}}
serving: {name: iris, template: t.yaml, sample: s.json}
environments: {build: team, staging: {namespace: test}, production: {namespace: live}}
";

pub(super) fn pull(merged: bool) -> PullRequest {
    PullRequest {
        head: COMMIT.into(),
        author: "ann".into(),
        base: "main".into(),
        open: !merged,
        merged,
        fork: false,
        draft: false,
        mergeable: Some(true),
        merge_state: crate::command::MergeState::Free,
        merge_commit: merged.then(|| "9".repeat(40)),
        seen: SystemTime::now(),
    }
}

#[async_trait]
impl GitHub for World {
    async fn look(&self, _: &Meter, _: (&Repository, u64)) -> Result<Look, Failure> {
        Ok(Look {
            pull: pull(false),
            default_branch: "main".into(),
            project: Some(("kfops.yaml".into(), Bytes::from_static(PROJECT.as_bytes()))),
            reviews: Vec::new(),
            succeeded: Vec::new(),
            merging: Merging { queue: false, methods: vec![MergeMethod::Merge] },
        })
    }
    async fn post(&self, _: &Meter, _: (&Repository, u64), _: &Post) -> Result<PostOutcome, Failure> {
        panic!("an answer is written by the driver")
    }
    async fn find(
        &self,
        _: &Meter,
        _: (&Repository, u64),
        _: &str,
        _: SystemTime,
        _: Option<&CheckRun>,
        _: Option<&Deployment>,
    ) -> Result<Found, Failure> {
        Ok(Found::default())
    }
    async fn move_label(&self, _: &Meter, _: (&Repository, u64), _: &str) -> Result<Vec<u64>, Failure> {
        panic!("a verb that only reads moves no label")
    }
    async fn deliveries(&self, _: SystemTime) -> Result<Vec<SentDelivery>, Failure> {
        Ok(Vec::new())
    }
    async fn delivery_payload(&self, _: &SentDelivery) -> Result<Bytes, Failure> {
        Ok(Bytes::new())
    }
    async fn comment(&self, _: &Meter, _: &Repository, _: u64) -> Result<Option<String>, Failure> {
        panic!("an answer reads no comment")
    }
    async fn pull_request(&self, _: &Meter, _: &Repository, _: u64) -> Result<PullRequest, Failure> {
        Ok(pull(self.0.lock().unwrap().merged))
    }
    async fn permission(&self, _: &Meter, _: &Repository, _: &str) -> Result<String, Failure> {
        Ok("write".into())
    }
    async fn team_member(&self, _: &Meter, _: &str, _: &str) -> Result<bool, Failure> {
        Ok(false)
    }
    async fn behind_by(&self, _: &Meter, _: &Repository, _: &str, _: &str) -> Result<u64, Failure> {
        Ok(2)
    }
    async fn archive(&self, _: &Meter, _: &Repository, _: &str) -> Result<Bytes, Failure> {
        panic!("the archive lies in the store")
    }
    async fn merge(&self, _: &Meter, _: (&Repository, u64), _: &str) -> Result<Merged, Failure> {
        panic!("a verb that only reads merges nothing")
    }
}

pub(super) fn command(id: &str, verb: Verb) -> Command {
    let on = (Repository::parse("o/r").unwrap(), 7);
    let trace = TraceContext::from_random([1; 24]);
    let mut command = Command::new(id.into(), verb, on, "ann".into(), Origin::Api, trace, SystemTime::now());
    command.pull = Some(pull(false));
    command
}

/// Everything in order: `/ship c-0` built, ran and deployed it.
pub(super) fn good(archive: &Digest) -> Known {
    let source = Source { key: "sources/o/r/c.tar.gz".into(), digest: archive.to_string(), commit: COMMIT.into() };
    let model = Model { uri: "file:///m".into(), digest: digest("model"), size: 1 };
    let image = Image { name: "trainer".into(), repository: "r/trainer".into(), digest: digest("image") };
    let serving = kfops_project::Serving { name: "iris".into(), template: "t.yaml".into(), sample: None, golden: None };
    let revision = Revision {
        name: "iris-00007".into(),
        state: "ready".into(),
        percent: 100,
        model: model.clone(),
        run: "r-1".into(),
        rollout: "d-1".into(),
        commit: COMMIT.into(),
        manifest: "storageUri: URI-of-old\n".into(),
        unanswered: String::new(),
    };
    let rollout = RolloutRecord {
        succeeded: true,
        source: source.clone(),
        serving,
        model: model.clone(),
        run: "r-1".into(),
        revision: "iris-00007".into(),
        previous_revision: String::new(),
    };
    let run = Run {
        succeeded: true,
        commit: COMMIT.into(),
        version: "v-1".into(),
        arguments: [("max_depth".to_owned(), 5.into()), ("seed".to_owned(), 1.into())].into(),
        metrics: [("accuracy".to_owned(), 0.953)].into(),
        model: Some(model),
    };
    let version = Version {
        ready: true,
        source,
        images: vec![image.clone()],
        spec_digest: digest("spec"),
        repository: "o/r".into(),
    };
    let build = BuildRecord { succeeded: true, commit: COMMIT.into(), images: vec![image] };
    Known {
        revisions: vec![revision],
        rollouts: [("d-1".to_owned(), rollout)].into(),
        runs: [("r-1".to_owned(), run)].into(),
        versions: [("v-1".to_owned(), version)].into(),
        builds: [(build_id(), build)].into(),
        manifest: "storageUri: URI\n".into(),
        merged: true,
        ..Known::default()
    }
}

fn build_id() -> String {
    command("c-0", Verb::Ship).resource(Stage::Build)
}

/// A driver of a command that was just received, in a world.
pub(super) async fn driver(folder: &std::path::Path, world: &World, verb: Verb) -> Driver {
    let store = Store::open(format!("file://{}/store", folder.display())).unwrap();
    let ledger = Arc::new(SqliteLedger::open(&folder.join("ledger"), SystemTime::now()).unwrap());
    let engine = Arc::new(Engine {
        settings: Settings::default(),
        ledger: ledger.clone(),
        github: Arc::new(world.clone()),
        workers: Arc::new(world.clone()),
        clock: Arc::new(SystemClock),
        store,
        tracer: Tracer::disabled(),
        lifecycle: Lifecycle::new(),
        turns: Line::default(),
        manners: Manners::default(),
        freed: tokio::sync::watch::channel(()).0,
        watchers: Mutex::default(),
        wishes: Mutex::default(),
        duty: Duty::alone(),
    });
    Driver::new(engine, command("c-9", verb), Arc::new(Notify::new()))
}
