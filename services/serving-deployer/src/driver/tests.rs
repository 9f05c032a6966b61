//! Drivers over an outside that does not do what it should.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use kfops_core::SystemClock;
use kfops_store::Store;
use kfops_telemetry::Tracer;
use serde_json::Value;

use super::*;
use crate::{
    gate::Counters,
    plan::tests::request,
    ports::{Answer, DeploymentFunctions, Probe, Prober, Router, Runtime, Target},
    rollout::State,
    service::{Model, Predictor, Protocol, Revision, RevisionKey, RevisionState, ServiceName},
    template::Inputs,
};

/// Servers that run, and a router that may refuse.
#[derive(Default)]
struct Outside {
    running: Mutex<BTreeSet<String>>,
    refuses: AtomicBool,
    /// Requests that no revision answers before it must leave.
    endless: u64,
}

impl Outside {
    fn running(&self) -> Vec<String> {
        self.running.lock().unwrap().iter().cloned().collect()
    }

    fn route(&self) -> Result<(), Failure> {
        match self.refuses.load(Ordering::Relaxed) {
            true => Err(Failure::new(Reason::RouteFailed, "the router hangs")),
            false => Ok(()),
        }
    }
}

struct Fake(Arc<Outside>);

#[async_trait]
impl Runtime for Fake {
    fn check(&self, _: &Predictor, _: &str) -> Result<(), Failure> {
        Ok(())
    }

    async fn start(&self, _: &ServiceName, revision: &Revision) -> Result<(), Failure> {
        self.0.running.lock().unwrap().insert(revision.name.clone());
        Ok(())
    }

    async fn observe(&self, key: &RevisionKey) -> Server {
        match self.0.running.lock().unwrap().contains(&key.revision) {
            true => Server::Ready("127.0.0.1:1".into()),
            false => Server::Absent,
        }
    }

    async fn stop(&self, key: &RevisionKey) {
        self.0.running.lock().unwrap().remove(&key.revision);
    }

    async fn log(&self, _: &RevisionKey) -> String {
        String::new()
    }

    async fn close(&self) {}
}

#[async_trait]
impl Router for Fake {
    async fn open(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn apply(&self, _: &ServiceName, _: &[Target]) -> Result<(), Failure> {
        self.0.route()
    }

    async fn drained(&self, _: &RevisionKey) -> Result<u64, Failure> {
        self.0.route().map(|()| self.0.endless)
    }

    async fn counters(&self, _: &RevisionKey) -> Result<Counters, Failure> {
        Ok(Counters::default())
    }

    fn trouble(&self) -> Option<String> {
        self.0.route().err().map(|failure| failure.message)
    }

    fn base_url(&self, _: &ServiceName) -> String {
        "http://127.0.0.1:1".into()
    }

    async fn close(&self) {}
}

#[async_trait]
impl Prober for Fake {
    async fn send(&self, _: Probe) -> Result<Answer, String> {
        Err("nobody asks".into())
    }
}

#[async_trait]
impl DeploymentFunctions for Fake {
    async fn call(&self, _: &Path, _: &Path, _: &Inputs) -> Result<Value, Failure> {
        Err(Failure::internal("nobody calls"))
    }
}

fn revision(name: &str, state: RevisionState, percent: Option<u8>) -> Revision {
    Revision {
        name: name.into(),
        state,
        percent,
        model: Model { uri: String::new(), digest: String::new(), size_bytes: 0 },
        predictor: Predictor { format: String::new(), protocol: Protocol::V1, storage_uri: String::new() },
        run: String::new(),
        rollout: name.into(),
        commit: String::new(),
        created: SystemTime::UNIX_EPOCH,
        manifest: String::new(),
        context: None,
    }
}

/// iris-00001 is live, iris-00002 is new; the rollout `two` is at `stage`.
async fn two_revisions(folder: &Path, outside: &Arc<Outside>, stage: Stage) -> Arc<Shared> {
    let ports = Ports {
        runtime: Arc::new(Fake(Arc::clone(outside))),
        router: Arc::new(Fake(Arc::clone(outside))),
        prober: Arc::new(Fake(Arc::clone(outside))),
        functions: Arc::new(Fake(Arc::clone(outside))),
        store: Store::open(format!("file://{}", folder.display())).unwrap(),
        clock: Arc::new(SystemClock),
        tracer: Tracer::disabled(),
    };
    let (rollouts, services) = (Table::open(&folder.join("db")).unwrap(), Table::open(&folder.join("db")).unwrap());
    let name = ServiceName { namespace: "team".into(), name: "iris".into() };
    let mut service = InferenceService::new(name);
    service.live = "iris-00001".into();
    service.revisions.push(revision("iris-00001", RevisionState::Ready, Some(50)));
    service.revisions.push(revision("iris-00002", RevisionState::Starting, Some(50)));
    services.create(service).await.unwrap();
    outside.running.lock().unwrap().extend(["iris-00001".to_owned(), "iris-00002".to_owned()]);
    let request = request(&[50]);
    let now = SystemTime::now();
    let mut rollout = Rollout::new("two".into(), request, None, now);
    (rollout.previous, rollout.revision, rollout.state) = ("iris-00001".into(), "iris-00002".into(), State::Running);
    match stage {
        Stage::Restore => rollout.fail(Failure::new(Reason::GateFailed, "no good"), now),
        stage => rollout.advance(stage, now),
    }
    rollouts.create(rollout).await.unwrap();
    let traffic = Traffic::new(services.clone(), ports.clone());
    let cancels = Cancels::default();
    Arc::new(Shared { settings: Settings::default(), ports, rollouts, services, traffic, cancels })
}

async fn driven(shared: &Arc<Shared>) -> Rollout {
    let driver = Driver::new(Arc::clone(shared), "two".into(), CancellationToken::new());
    driver.run(CancellationToken::new()).await;
    shared.rollouts.get("two").await.unwrap()
}

/// What stops a server runs beside the driver.
async fn only(outside: &Outside, left: &str) {
    let gone = async {
        while outside.running() != [left] {
            tokio::time::sleep(TICK).await;
        }
    };
    let late = tokio::time::timeout(Duration::from_secs(60), gone).await.is_err();
    assert!(!late, "running: {:?}", outside.running());
}

#[tokio::test(start_paused = true)]
async fn a_router_that_refuses_for_good_leaves_no_server_behind() {
    for (stage, left, state) in
        [(Stage::Restore, "iris-00001", State::Failed), (Stage::Drain, "iris-00002", State::Succeeded)]
    {
        let (folder, outside) = (tempfile::tempdir().unwrap(), Arc::new(Outside::default()));
        let shared = two_revisions(folder.path(), &outside, stage).await;
        outside.refuses.store(true, Ordering::Relaxed);
        let ended = driven(&shared).await;
        let step = ended.steps.last().unwrap();
        assert_eq!((step.state, step.message.as_str()), (State::Failed, "the router hangs"), "{stage:?}");
        assert_eq!(ended.state, state, "{stage:?}");
        only(&outside, left).await;
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_cut_are_counted_on_the_step() {
    let says = [
        (0, "iris-00001 drained and stopped"),
        (1, "iris-00001 stopped; 1 request was cut that it had not answered after 65 s"),
        (3, "iris-00001 stopped; 3 requests were cut that it had not answered after 65 s"),
    ];
    for (endless, text) in says {
        let (folder, outside) = (tempfile::tempdir().unwrap(), Arc::new(Outside { endless, ..Outside::default() }));
        let shared = two_revisions(folder.path(), &outside, Stage::Drain).await;
        let ended = driven(&shared).await;
        assert_eq!(ended.steps.last().unwrap().message, text);
        assert_eq!(outside.running(), ["iris-00002"]);
    }
}
