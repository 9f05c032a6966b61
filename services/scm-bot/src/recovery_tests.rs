//! Nothing that GitHub sent is lost, nothing is taken twice, and nothing old is done.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use kfops_core::Clock;
use kfops_rpc::Lifecycle;
use kfops_store::Store;
use kfops_telemetry::Tracer;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::{
    Settings,
    command::{Command, PullRequest, Repository},
    duty::Duty,
    engine::Engine,
    line::Line,
    local::{SqliteLedger, SystemEntropy},
    ports::{CheckRun, Delivery, Deployment, Filter, Found, GitHub, Look, Merged, Meter, Post, PostOutcome},
    workers::GrpcWorkers,
};

#[derive(Default)]
struct Sent {
    deliveries: Vec<(SentDelivery, Bytes)>,
    refuses: Option<Failure>,
    payload_refuses: Option<Failure>,
    comment_refuses: Option<Failure>,
    /// As they stand.
    comments: BTreeMap<u64, String>,
    fetched: Vec<String>,
}

/// Shows what it sent, and nothing else.
#[derive(Clone, Default)]
struct Listed(Arc<Mutex<Sent>>);

impl Listed {
    fn with<T>(&self, work: impl FnOnce(&mut Sent) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }

    fn send(&self, guid: &str, event: &str, payload: &serde_json::Value, at: SystemTime) {
        let action = payload["action"].as_str().unwrap().to_owned();
        let sent = SentDelivery { guid: guid.into(), handle: guid.into(), event: event.into(), action, delivered: at };
        self.with(|data| data.deliveries.push((sent, serde_json::to_vec(payload).unwrap().into())));
    }
}

fn away<T>() -> Result<T, Failure> {
    Err(Failure::new(Reason::GithubUnavailable, "away"))
}

#[async_trait]
impl GitHub for Listed {
    async fn deliveries(&self, since: SystemTime) -> Result<Vec<SentDelivery>, Failure> {
        self.with(|data| match &data.refuses {
            Some(failure) => Err(failure.clone()),
            None => Ok(data
                .deliveries
                .iter()
                .map(|(sent, _)| sent.clone())
                .filter(|sent| sent.delivered >= since)
                .collect()),
        })
    }
    async fn delivery_payload(&self, delivery: &SentDelivery) -> Result<Bytes, Failure> {
        self.with(|data| {
            data.fetched.push(delivery.guid.clone());
            match &data.payload_refuses {
                Some(failure) => Err(failure.clone()),
                None => Ok(data.deliveries.iter().find(|(sent, _)| sent == delivery).unwrap().1.clone()),
            }
        })
    }
    async fn look(&self, _: &Meter, _: (&Repository, u64)) -> Result<Look, Failure> {
        away()
    }
    async fn post(&self, _: &Meter, _: (&Repository, u64), _: &Post) -> Result<PostOutcome, Failure> {
        away()
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
        away()
    }
    async fn move_label(&self, _: &Meter, _: (&Repository, u64), _: &str) -> Result<Vec<u64>, Failure> {
        away()
    }
    async fn comment(&self, _: &Meter, _: &Repository, id: u64) -> Result<Option<String>, Failure> {
        self.with(|data| match data.comment_refuses.clone() {
            Some(failure) => Err(failure),
            None => Ok(data.comments.get(&id).cloned()),
        })
    }
    async fn pull_request(&self, _: &Meter, _: &Repository, _: u64) -> Result<PullRequest, Failure> {
        away()
    }
    async fn permission(&self, _: &Meter, _: &Repository, _: &str) -> Result<String, Failure> {
        away()
    }
    async fn team_member(&self, _: &Meter, _: &str, _: &str) -> Result<bool, Failure> {
        away()
    }
    async fn behind_by(&self, _: &Meter, _: &Repository, _: &str, _: &str) -> Result<u64, Failure> {
        away()
    }
    async fn archive(&self, _: &Meter, _: &Repository, _: &str) -> Result<Bytes, Failure> {
        away()
    }
    async fn merge(&self, _: &Meter, _: (&Repository, u64), _: &str) -> Result<Merged, Failure> {
        away()
    }
}

struct At(Mutex<SystemTime>);

impl Clock for At {
    fn now(&self) -> SystemTime {
        *self.0.lock().unwrap()
    }
}

const HOUR: Duration = Duration::from_secs(3600);

struct World {
    github: Listed,
    clock: Arc<At>,
    recovery: Recovery,
    _folder: TempDir,
}

impl World {
    /// A bot whose ledger began a day ago.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now = UNIX_EPOCH + 24 * 365 * HOUR;
        let settings = Settings::default();
        let (github, clock) = (Listed::default(), Arc::new(At(Mutex::new(now))));
        let engine = Arc::new(Engine {
            ledger: Arc::new(SqliteLedger::open(folder.path(), now - 24 * HOUR).unwrap()),
            github: Arc::new(github.clone()),
            workers: Arc::new(GrpcWorkers::new(&settings.workers).unwrap()),
            clock: clock.clone(),
            store: Store::open(format!("file://{}", folder.path().join("store").display())).unwrap(),
            tracer: Tracer::disabled(),
            lifecycle: Lifecycle::new(),
            turns: Line::default(),
            manners: crate::manners::Manners::default(),
            freed: tokio::sync::watch::channel(()).0,
            watchers: Mutex::default(),
            wishes: Mutex::default(),
            duty: Duty::alone(),
            settings,
        });
        let intake = Intake { engine, entropy: Arc::new(SystemEntropy) };
        Self { github, clock, recovery: Recovery::new(intake), _folder: folder }
    }

    fn now(&self) -> SystemTime {
        self.clock.now()
    }

    fn later(&self, by: Duration) {
        *self.clock.0.lock().unwrap() += by;
    }

    fn engine(&self) -> &Arc<Engine> {
        &self.recovery.intake.engine
    }

    fn comments(&self, guid: &str, id: u64, body: &str, at: SystemTime) {
        let payload = json!({
            "action": "created", "issue": {"number": 1, "pull_request": {}},
            "comment": {"id": id, "body": body, "user": {"login": "author", "type": "User"},
                        "created_at": humantime::format_rfc3339_seconds(at).to_string()},
            "repository": {"full_name": "o/r"}, "sender": {"login": "author", "type": "User"},
        });
        self.github.with(|data| data.comments.insert(id, body.to_owned()));
        self.github.send(guid, "issue_comment", &payload, at);
    }

    fn pushes(&self, guid: &str, head: &str, at: SystemTime) {
        let payload = json!({
            "action": "synchronize", "number": 1, "repository": {"full_name": "o/r"}, "after": head.repeat(40),
            "pull_request": {"head": {"sha": head.repeat(40)},
                             "updated_at": humantime::format_rfc3339_seconds(at).to_string()},
        });
        self.github.send(guid, "pull_request", &payload, at);
    }

    /// Oldest first.
    async fn commands(&self) -> Vec<Command> {
        let mut page = self.engine().ledger.list(Filter::default(), 1000, "").await.unwrap();
        page.commands.reverse();
        page.commands
    }

    fn fetched(&self) -> Vec<String> {
        self.github.with(|data| std::mem::take(&mut data.fetched))
    }
}

#[tokio::test]
async fn what_never_arrived_is_taken_in_the_order_it_was_sent() {
    let mut world = World::new();
    let now = world.now();
    let minute = Duration::from_secs(60);
    world.comments("g-2", 2, "/run", now - minute);
    world.comments("g-1", 1, "/build", now - 2 * minute);
    world.comments("g-known", 3, "/deploy", now - 3 * minute);
    world.github.send("g-4", "push", &json!({"action": ""}), now - minute);
    world.github.send("g-5", "issue_comment", &json!({"action": "edited"}), now - minute);
    let known = Delivery { id: "g-known".into(), event: "issue_comment".into(), payload: Bytes::new(), received: now };
    world.engine().ledger.accept(known, Vec::new()).await.unwrap();
    assert_eq!(world.recovery.look().await, Looked::Completely);
    let commands = world.commands().await;
    let seen: Vec<_> = commands.iter().map(|command| (command.verb.as_str(), command.received)).collect();
    assert_eq!(seen, [("build", now - 2 * minute), ("run", now - minute)]);
    assert!(commands.iter().all(|command| command.unreadable.is_none()));
    assert_eq!(world.fetched(), ["g-1", "g-2"]);
    assert_eq!(world.recovery.look().await, Looked::Completely);
    assert_eq!(world.commands().await.len(), 2);
    assert!(world.fetched().is_empty());
}

#[tokio::test]
async fn every_push_is_known_before_a_comment_is_taken() {
    let mut world = World::new();
    let now = world.now();
    world.comments("g-1", 1, "/ship", now - Duration::from_secs(60));
    world.pushes("g-2", "c", now - Duration::from_secs(50));
    world.comments("g-3", 3, "/ship", now - Duration::from_secs(40));
    assert_eq!(world.recovery.look().await, Looked::Completely);
    assert_eq!(world.fetched(), ["g-2", "g-1", "g-3"]);
    let by: Vec<_> = world.commands().await.into_iter().map(|command| command.superseded_by).collect();
    assert_eq!(by, [Some("c".repeat(40)), None]);
}

#[tokio::test]
async fn a_comment_that_was_taken_back_is_noted_and_starts_nothing() {
    let mut world = World::new();
    for id in 1..=3 {
        world.comments(&format!("g-{id}"), id, "/deploy", world.now() - Duration::from_secs(1500));
    }
    world.github.with(|data| {
        data.comments.remove(&1);
        data.comments.insert(2, "never mind".into());
    });
    // While nobody knows how it stands, nothing is taken.
    world.github.with(|data| data.comment_refuses = Some(Failure::new(Reason::GithubUnavailable, "no")));
    assert_eq!(world.recovery.look().await, Looked::Failed);
    assert!(world.commands().await.is_empty());
    world.github.with(|data| data.comment_refuses = None);
    assert_eq!(world.recovery.look().await, Looked::Completely);
    let commands = world.commands().await;
    assert_eq!(commands.len(), 1);
    assert!(matches!(commands[0].origin, crate::command::Origin::Comment { comment: 3, .. }));
    let guids = ["g-1", "g-2", "g-3"].map(str::to_owned);
    assert!(world.engine().ledger.missing(&guids).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_comes_too_late_is_recorded_and_refused() {
    let mut world = World::new();
    world.comments("g-1", 1, "/deploy", world.now() - 2 * HOUR);
    world.recovery.look().await;
    let commands = world.commands().await;
    let failure = commands[0].unreadable.clone().unwrap();
    assert_eq!(failure.reason, Reason::PolicyRefused);
    assert!(failure.message.contains("2h late") && failure.action.contains("write it again"), "{failure:?}");
}

#[tokio::test]
async fn nothing_is_taken_from_before_the_window_or_the_ledger() {
    let mut world = World::new();
    world.comments("g-1", 1, "/deploy", world.now() - 7 * HOUR);
    assert_eq!(world.recovery.look().await, Looked::Completely);
    assert!(world.commands().await.is_empty());
    // A ledger that was lost must not lead to everything being done again.
    let fresh = tempfile::tempdir().unwrap();
    let ledger = SqliteLedger::open(fresh.path(), world.now()).unwrap();
    world.comments("g-2", 2, "/deploy", world.now() - Duration::from_secs(60));
    Arc::get_mut(&mut world.recovery.intake.engine).unwrap().ledger = Arc::new(ledger);
    assert_eq!(world.recovery.look().await, Looked::Completely);
    assert!(world.commands().await.is_empty());
}

#[tokio::test]
async fn while_github_is_away_nothing_is_lost() {
    let mut world = World::new();
    assert_eq!(world.recovery.look().await, Looked::Completely);
    world.comments("g-1", 1, "/build", world.now());
    for (reason, listing) in
        [(Reason::GithubUnavailable, Listing::Away), (Reason::PermissionDenied, Listing::Forbidden)]
    {
        world.github.with(|data| data.refuses = Some(Failure::new(reason, "no")));
        assert_eq!(world.recovery.look().await, Looked::Failed);
        assert_eq!(world.recovery.listing, listing);
        world.later(HOUR / 8);
    }
    world.github.with(|data| data.refuses = None);
    world.github.with(|data| data.payload_refuses = Some(Failure::new(Reason::GithubUnavailable, "no")));
    assert_eq!(world.recovery.look().await, Looked::Failed);
    assert!(world.commands().await.is_empty());
    world.github.with(|data| data.payload_refuses = None);
    assert_eq!(world.recovery.look().await, Looked::Completely);
    assert_eq!(world.commands().await.len(), 1);
}

#[tokio::test]
async fn what_cannot_be_had_is_asked_for_once() {
    let mut world = World::new();
    world.comments("g-1", 1, "/build", world.now());
    world.github.with(|data| data.payload_refuses = Some(Failure::new(Reason::NotFound, "gone")));
    assert_eq!(world.recovery.look().await, Looked::Completely);
    assert_eq!(world.recovery.look().await, Looked::Completely);
    assert_eq!(world.fetched(), ["g-1"]);
}

#[tokio::test]
async fn a_look_is_bounded() {
    let mut world = World::new();
    for number in 0..(MOST as u64 + 20) {
        world.comments(&format!("g-{number}"), number, "/help", world.now());
    }
    assert_eq!(world.recovery.look().await, Looked::Partly);
    assert_eq!(world.fetched().len(), MOST);
    assert_eq!(world.recovery.look().await, Looked::Completely);
    assert_eq!(world.commands().await.len(), MOST + 20);
}

#[tokio::test]
async fn an_old_push_does_not_supersede_what_came_after_it() {
    let mut world = World::new();
    let ledger = Arc::clone(&world.engine().ledger);
    world.comments("g-1", 1, "/build", world.now() - Duration::from_secs(60));
    world.recovery.look().await;
    let pull = PullRequest {
        head: "b".repeat(40),
        author: String::new(),
        base: "main".into(),
        open: true,
        merged: false,
        fork: false,
        draft: false,
        mergeable: None,
        merge_state: crate::command::MergeState::Free,
        merge_commit: None,
        seen: world.now(),
    };
    let id = world.commands().await[0].id.clone();
    loop {
        let command = ledger.get(&id).await.unwrap();
        if ledger.update(Command { pull: Some(pull.clone()), ..command }).await.unwrap().is_some() {
            break;
        }
    }
    world.pushes("g-old", "a", world.now() - 2 * Duration::from_secs(60));
    world.recovery.look().await;
    assert_eq!(ledger.get(&id).await.unwrap().superseded_by, None);
    world.pushes("g-new", "c", world.now());
    world.recovery.look().await;
    assert_eq!(ledger.get(&id).await.unwrap().superseded_by, Some("c".repeat(40)));
}

#[tokio::test]
async fn the_house_is_kept() {
    let world = World::new();
    world.comments("g-1", 1, "/build", world.now());
    let ledger = Arc::clone(&world.engine().ledger);
    let old = Delivery { id: "g-1".into(), event: "push".into(), payload: Bytes::new(), received: world.now() };
    ledger.accept(old, Vec::new()).await.unwrap();
    crate::housekeeping::tidy(world.engine()).await.unwrap();
    assert!(ledger.missing(&["g-1".into()]).await.unwrap().is_empty());
    world.later(31 * 24 * HOUR);
    crate::housekeeping::tidy(world.engine()).await.unwrap();
    assert_eq!(ledger.missing(&["g-1".into()]).await.unwrap(), ["g-1"]);
}
