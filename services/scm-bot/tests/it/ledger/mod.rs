//! What every ledger promises, whatever it is made of. `conforms` holds one to it.

use std::{
    collections::HashSet,
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use kfops_core::{Reason, TraceContext};
use kfops_scm_bot::{
    command::{Command, Origin, Repository, State},
    local::SqliteLedger,
    ports::{Accepted, Claim, Created, Delivery, Filter, Ledger},
    step::{Stage, StepState},
    verb::Verb,
};
use tokio::task::JoinSet;

use crate::sim::{World, ledger::SimLedger};

mod locks;
mod pushes;
mod speed;

/// Makes ledgers, and opens one again whose process died.
pub(crate) trait Factory: Send + Sync + 'static {
    /// An empty ledger.
    fn new() -> Self;
    /// The same ledger, after a crash if it was open: nothing was closed in order.
    fn open(&self) -> impl Future<Output = Arc<dyn Ledger>> + Send;
}

struct Sqlite(tempfile::TempDir);

impl Factory for Sqlite {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    async fn open(&self) -> Arc<dyn Ledger> {
        Arc::new(SqliteLedger::open(self.0.path(), at(0)).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_conforms() {
    conforms::<Sqlite>().await;
}

/// The one of the simulation: a world whose bot died has the same book.
struct Simulated(Arc<World>);

impl Factory for Simulated {
    fn new() -> Self {
        Self(World::new(true))
    }

    async fn open(&self) -> Arc<dyn Ledger> {
        Arc::new(SimLedger(Arc::clone(&self.0)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_simulated_one_conforms() {
    conforms::<Simulated>().await;
}

/// Holds a ledger to everything.
pub(crate) async fn conforms<F: Factory>() {
    deliveries_count_once::<F>().await;
    a_changed_record_is_not_overwritten::<F>().await;
    what_is_open_is_found::<F>().await;
    pages_are_whole::<F>().await;
    locks_are_fair_and_fenced::<F>().await;
    the_end_of_a_command_frees_its_locks::<F>().await;
    what_was_seized_comes_back_under_a_new_fence::<F>().await;
    a_new_ledger_gives_higher_fences_than_a_lost_one::<F>().await;
    one_of_many_gets_the_lock::<F>().await;
    a_crash_loses_nothing::<F>().await;
    what_is_live_is_never_forgotten::<F>().await;
    pushes::comments_are_bound_by_the_newest_push::<F>().await;
    locks::locks_follow_the_model::<F>().await;
}

pub(crate) const TARGET: &str = "namespaces/n/inferenceServices/iris";

pub(crate) fn at(second: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(second)
}

pub(crate) fn command(id: &str) -> Command {
    let on = (Repository::parse("o/r").unwrap(), 1);
    Command::new(id.into(), Verb::Deploy, on, "a".into(), Origin::Api, TraceContext::from_random([1; 24]), at(0))
}

pub(crate) fn delivery(id: &str, received: SystemTime) -> Delivery {
    Delivery { id: id.into(), event: "issue_comment".into(), payload: "{}".into(), received }
}

pub(crate) async fn create(ledger: &dyn Ledger, id: &str) -> Command {
    match ledger.create(command(id)).await.unwrap() {
        Created::New(command) => command,
        Created::Existing(command) => panic!("{} is there", command.id),
    }
}

/// Ends a command, or only decides how.
pub(crate) async fn end(ledger: &dyn Ledger, id: &str, whole: bool, when: SystemTime) {
    let mut command = ledger.get(id).await.unwrap();
    command.outcome = Some(State::Failed);
    command.updated = when;
    if whole {
        (command.state, command.ended) = (State::Failed, Some(when));
    }
    ledger.update(command).await.unwrap().unwrap();
}

fn waiting(holder: &str, ahead: usize) -> Claim {
    Claim::Waiting { holder: holder.into(), ahead }
}

async fn deliveries_count_once<F: Factory>() {
    let ledger = F::new().open_owned().await;
    let ledger = ledger.1.as_ref();
    let new = ledger.accept(delivery("g-1", at(1)), vec![command("c-1"), command("c-2")]).await.unwrap();
    assert!(matches!(new, Accepted::New(new) if new.len() == 2 && new[0].seq < new[1].seq && new[0].version == 1));
    assert_eq!(ledger.accept(delivery("g-1", at(1)), vec![command("c-3")]).await.unwrap(), Accepted::Duplicate);
    assert_eq!(ledger.get("c-3").await.unwrap_err().reason, Reason::NotFound);
    // The same comment under another GUID; then one of two is known.
    assert_eq!(ledger.accept(delivery("g-2", at(1)), vec![command("c-1")]).await.unwrap(), Accepted::Duplicate);
    let some = ledger.accept(delivery("g-3", at(1)), vec![command("c-1"), command("c-4")]).await.unwrap();
    assert!(matches!(some, Accepted::New(new) if new.len() == 1 && new[0].id == "c-4"));
    // Of no interest, once.
    assert_eq!(ledger.accept(delivery("g-4", at(1)), Vec::new()).await.unwrap(), Accepted::New(Vec::new()));
    assert_eq!(ledger.accept(delivery("g-4", at(1)), Vec::new()).await.unwrap(), Accepted::Duplicate);
    let asked: Vec<_> = ["x-2", "g-1", "x-1", "g-4", "g-2"].map(str::to_owned).into();
    assert_eq!(ledger.missing(&asked).await.unwrap(), ["x-2", "x-1"]);
    assert!(ledger.missing(&[]).await.unwrap().is_empty());
}

async fn a_changed_record_is_not_overwritten<F: Factory>() {
    let ledger = F::new().open_owned().await;
    let ledger = ledger.1.as_ref();
    let first = create(ledger, "c-1").await;
    assert!(matches!(ledger.create(command("c-1")).await.unwrap(), Created::Existing(same) if same == first));
    let other = Command { verb: Verb::Build, ..command("c-1") };
    assert_eq!(ledger.create(other).await.unwrap_err().reason, Reason::AlreadyExists);
    let second = ledger.update(Command { cancel: true, ..first.clone() }).await.unwrap().unwrap();
    assert!(second.version > first.version && second.seq == first.seq);
    assert_eq!(ledger.update(first).await.unwrap(), None);
    assert_eq!(ledger.get("c-1").await.unwrap(), second);
    assert_eq!(ledger.update(Command { version: 1, ..command("c-none") }).await.unwrap(), None);
    assert_eq!(ledger.open().await.unwrap(), [second]);
    end(ledger, "c-1", false, at(1)).await;
    assert_eq!(ledger.open().await.unwrap().len(), 1);
    end(ledger, "c-1", true, at(1)).await;
    assert!(ledger.open().await.unwrap().is_empty());
}

async fn what_is_open_is_found<F: Factory>() {
    let ledger = F::new().open_owned().await;
    let ledger = ledger.1.as_ref();
    assert!(ledger.open_ids().await.unwrap().is_empty());
    for (id, repository, pull_request) in [("c-9", "o/r", 1), ("c-1", "O/R", 1), ("c-5", "o/r", 2), ("c-3", "o/x", 1)] {
        let repository = Repository::parse(repository).unwrap();
        ledger.create(Command { repository, pull_request, ..command(id) }).await.unwrap();
    }
    let ids = |commands: Vec<Command>| commands.into_iter().map(|command| command.id).collect::<Vec<_>>();
    let here = Repository::parse("o/R").unwrap();
    // In the order in which they came.
    assert_eq!(ledger.open_ids().await.unwrap(), ["c-9", "c-1", "c-5", "c-3"]);
    assert_eq!(ids(ledger.open_of(&here, 1).await.unwrap()), ["c-9", "c-1"]);
    // Whose outcome is known has still to say its last word.
    end(ledger, "c-9", false, at(1)).await;
    assert_eq!(ids(ledger.open_of(&here, 1).await.unwrap()), ["c-9", "c-1"]);
    end(ledger, "c-9", true, at(2)).await;
    assert_eq!(ids(ledger.open_of(&here, 1).await.unwrap()), ["c-1"]);
    assert_eq!(ledger.open_ids().await.unwrap(), ["c-1", "c-5", "c-3"]);
    assert_eq!(ids(ledger.open().await.unwrap()), ["c-1", "c-5", "c-3"]);
    assert!(ledger.open_of(&here, 3).await.unwrap().is_empty());
    // Ended without an outcome, as an older record may be: it needs no lock either.
    ledger.claim(TARGET, "c-1", at(3)).await.unwrap();
    let ended = Command { state: State::Failed, ..ledger.get("c-1").await.unwrap() };
    ledger.update(ended).await.unwrap().unwrap();
    assert_eq!(ledger.locks().await.unwrap()[0].holder, None);
    assert!(ledger.claim(TARGET, "c-1", at(4)).await.is_err());
    assert_eq!(ledger.open_ids().await.unwrap(), ["c-5", "c-3"]);
}

async fn pages_are_whole<F: Factory>() {
    let ledger = F::new().open_owned().await;
    let ledger = ledger.1.as_ref();
    for number in 0..25 {
        let repository = Repository::parse(if number % 5 == 0 { "O/Other" } else { "o/r" }).unwrap();
        let command = Command { repository, pull_request: number % 2, ..command(&format!("c-{number}")) };
        ledger.create(command).await.unwrap();
    }
    for (repository, pull_request, expected) in [
        (None, None, 25),
        (Some("O/R"), None, 20),
        (Some("o/other"), Some(1), 2),
        (None, Some(0), 13),
        (Some("x/y"), None, 0),
    ] {
        let filter = Filter { repository: repository.map(|name| Repository::parse(name).unwrap()), pull_request };
        let (mut token, mut seen) = (String::new(), Vec::new());
        loop {
            let page = ledger.list(filter.clone(), 4, &token).await.unwrap();
            assert!(page.commands.len() <= 4);
            seen.extend(page.commands.into_iter().map(|command| command.seq));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(seen.len(), expected, "{filter:?}");
        assert!(seen.is_sorted_by(|a, b| a > b));
    }
    for (size, shown) in [(0, 25), (i32::MAX, 25), (25, 25), (24, 24)] {
        let page = ledger.list(Filter::default(), size, "").await.unwrap();
        assert_eq!((page.commands.len(), page.next_page_token.is_empty()), (shown, shown == 25), "{size}");
    }
    assert_eq!(ledger.list(Filter::default(), -1, "").await.unwrap_err().reason, Reason::InvalidArgument);
    assert_eq!(ledger.list(Filter::default(), 0, "x").await.unwrap_err().reason, Reason::InvalidArgument);
}

async fn locks_are_fair_and_fenced<F: Factory>() {
    let ledger = F::new().open_owned().await;
    let ledger = ledger.1.as_ref();
    for id in ["c-1", "c-2", "c-3", "c-4"] {
        create(ledger, id).await;
    }
    assert_eq!(ledger.claim(TARGET, "c-none", at(1)).await.unwrap_err().reason, Reason::NotFound);
    assert!(ledger.locks().await.unwrap().is_empty());
    assert_eq!(ledger.claim(TARGET, "c-2", at(1)).await.unwrap(), Claim::Held(1000));
    assert_eq!(ledger.claim(TARGET, "c-2", at(2)).await.unwrap(), Claim::Held(1000));
    for (id, ahead) in [("c-3", 0), ("c-1", 1), ("c-4", 2), ("c-1", 1), ("c-3", 0)] {
        assert_eq!(ledger.claim(TARGET, id, at(3)).await.unwrap(), waiting("c-2", ahead), "{id}");
    }
    let locks = ledger.locks().await.unwrap();
    assert_eq!((locks[0].holder.as_deref(), locks[0].fence, locks[0].since), (Some("c-2"), 1000, at(1)));
    assert_eq!(locks[0].queue, ["c-3", "c-1", "c-4"]);
    assert_eq!(ledger.claim("other", "c-1", at(3)).await.unwrap(), Claim::Held(3000));
    end(ledger, "c-2", false, at(9)).await;
    let lock = ledger.locks().await.unwrap().into_iter().find(|lock| lock.target == TARGET).unwrap();
    assert_eq!((lock.holder, lock.fence, lock.since), (None, 1000, at(9)));
    // Free, and still nobody overtakes.
    assert_eq!(ledger.claim(TARGET, "c-1", at(10)).await.unwrap(), waiting("c-3", 0));
    assert_eq!(ledger.claim(TARGET, "c-4", at(10)).await.unwrap(), waiting("c-3", 1));
    assert_eq!(ledger.claim(TARGET, "c-3", at(11)).await.unwrap(), Claim::Held(11_000));
    assert_eq!(ledger.claim(TARGET, "c-1", at(12)).await.unwrap(), waiting("c-3", 0));
}

async fn the_end_of_a_command_frees_its_locks<F: Factory>() {
    let ledger = F::new().open_owned().await;
    let ledger = ledger.1.as_ref();
    for id in ["c-1", "c-2", "c-3"] {
        create(ledger, id).await;
        ledger.claim(TARGET, id, at(1)).await.unwrap();
    }
    // One that waits ends first.
    end(ledger, "c-2", true, at(2)).await;
    assert_eq!(ledger.claim(TARGET, "c-3", at(3)).await.unwrap(), waiting("c-1", 0));
    end(ledger, "c-1", true, at(4)).await;
    assert_eq!(ledger.claim(TARGET, "c-3", at(5)).await.unwrap(), Claim::Held(5000));
    for id in ["c-1", "c-2", "c-none"] {
        let failure = ledger.claim(TARGET, id, at(6)).await.unwrap_err();
        assert!(failure.message.contains(id), "{failure:?}");
    }
    end(ledger, "c-3", false, at(7)).await;
    assert!(ledger.claim(TARGET, "c-3", at(8)).await.is_err());
    // An update in an old version frees nothing.
    let fourth = create(ledger, "c-4").await;
    assert_eq!(ledger.claim(TARGET, "c-4", at(8)).await.unwrap(), Claim::Held(8000));
    ledger.update(Command { cancel: true, ..fourth.clone() }).await.unwrap().unwrap();
    let stale = Command { outcome: Some(State::Failed), ..fourth };
    assert_eq!(ledger.update(stale).await.unwrap(), None);
    assert_eq!(ledger.claim(TARGET, "c-4", at(9)).await.unwrap(), Claim::Held(8000));
}

async fn what_was_seized_comes_back_under_a_new_fence<F: Factory>() {
    let ledger = F::new().open_owned().await;
    let ledger = ledger.1.as_ref();
    for id in ["c-1", "c-2", "c-3"] {
        create(ledger, id).await;
        ledger.claim(TARGET, id, at(1)).await.unwrap();
    }
    assert!(!ledger.seize(TARGET, "c-2", at(2)).await.unwrap());
    assert!(!ledger.seize("other", "c-1", at(2)).await.unwrap());
    assert!(ledger.seize(TARGET, "c-1", at(3)).await.unwrap());
    assert!(!ledger.seize(TARGET, "c-1", at(3)).await.unwrap());
    let locks = ledger.locks().await.unwrap();
    assert_eq!((locks[0].holder.as_ref(), locks[0].since), (None, at(3)));
    assert_eq!(locks[0].queue, ["c-2", "c-3"]);
    assert_eq!(ledger.claim(TARGET, "c-1", at(4)).await.unwrap(), waiting("c-2", 1));
    assert_eq!(ledger.claim(TARGET, "c-2", at(5)).await.unwrap(), Claim::Held(5000));
    assert_eq!(ledger.locks().await.unwrap()[0].queue, ["c-3", "c-1"]);
    end(ledger, "c-2", true, at(6)).await;
    end(ledger, "c-3", true, at(6)).await;
    assert_eq!(ledger.claim(TARGET, "c-1", at(7)).await.unwrap(), Claim::Held(7000));
}

async fn a_new_ledger_gives_higher_fences_than_a_lost_one<F: Factory>() {
    let mut last = 0;
    // Lost twice; its clock is set back in the life of the second.
    for times in [[100, 101, 102], [200, 150, 0]] {
        let ledger = F::new().open_owned().await;
        let ledger = ledger.1.as_ref();
        for (number, second) in times.into_iter().enumerate() {
            let id = format!("c-{number}");
            create(ledger, &id).await;
            let Claim::Held(fence) = ledger.claim(TARGET, &id, at(second)).await.unwrap() else { panic!("not held") };
            assert!(fence > last, "{fence} after {last}");
            last = fence;
            end(ledger, &id, true, at(second)).await;
        }
    }
}

async fn one_of_many_gets_the_lock<F: Factory>() {
    let (_factory, ledger) = F::new().open_owned().await;
    for number in 0..40 {
        create(ledger.as_ref(), &format!("c-{number}")).await;
    }
    let mut left: HashSet<usize> = (0..40).collect();
    let mut fence = 999;
    while !left.is_empty() {
        let mut tasks = JoinSet::new();
        for number in left.clone() {
            let ledger = Arc::clone(&ledger);
            tasks.spawn(async move {
                let id = format!("c-{number}");
                // Whoever is not the first asks again when it is free; two rounds are enough for somebody to hold it.
                ledger.claim(TARGET, &id, at(1)).await.unwrap();
                (number, ledger.claim(TARGET, &id, at(1)).await.unwrap())
            });
        }
        let held: Vec<_> = tasks
            .join_all()
            .await
            .into_iter()
            .filter_map(|(number, claim)| match claim {
                Claim::Held(fence) => Some((number, fence)),
                Claim::Waiting { .. } => None,
            })
            .collect();
        fence += 1;
        assert_eq!(held.len(), 1, "{held:?}");
        assert_eq!(held[0].1, fence);
        end(ledger.as_ref(), &format!("c-{}", held[0].0), true, at(2)).await;
        left.remove(&held[0].0);
    }
}

async fn a_crash_loses_nothing<F: Factory>() {
    let factory = F::new();
    let ledger = factory.open().await;
    ledger.accept(delivery("g-1", at(1)), vec![command("c-1"), command("c-2"), command("c-3")]).await.unwrap();
    ledger.claim(TARGET, "c-1", at(1)).await.unwrap();
    ledger.claim(TARGET, "c-2", at(2)).await.unwrap();
    end(ledger.as_ref(), "c-3", true, at(3)).await;
    let (before, locks) = (ledger.open().await.unwrap(), ledger.locks().await.unwrap());
    drop(ledger);
    let ledger = factory.open().await;
    assert_eq!(ledger.open().await.unwrap(), before);
    assert_eq!(ledger.locks().await.unwrap(), locks);
    assert_eq!(ledger.get("c-3").await.unwrap().state, State::Failed);
    assert_eq!(ledger.accept(delivery("g-1", at(1)), vec![command("c-9")]).await.unwrap(), Accepted::Duplicate);
    assert_eq!(ledger.claim(TARGET, "c-1", at(4)).await.unwrap(), Claim::Held(1000));
    assert_eq!(ledger.claim(TARGET, "c-2", at(4)).await.unwrap(), waiting("c-1", 0));
}

/// A command that brought a revision live and ended.
async fn deployed(ledger: &dyn Ledger, number: u64, target: &str) {
    let mut command = create(ledger, &format!("c-{number}")).await;
    command.lineage.inference_service = target.into();
    command.lineage.revision = format!("iris-{number}");
    let step = command.step_mut(Stage::Rollout);
    (step.state, step.end) = (StepState::Succeeded, Some(at(number)));
    (command.state, command.outcome, command.ended) = (State::Succeeded, Some(State::Succeeded), Some(at(number)));
    command.updated = at(number);
    ledger.update(command).await.unwrap().unwrap();
}

async fn what_is_live_is_never_forgotten<F: Factory>() {
    let ledger = F::new().open_owned().await;
    let ledger = ledger.1.as_ref();
    for number in 0..30 {
        deployed(ledger, number, if number < 28 { TARGET } else { "other" }).await;
    }
    create(ledger, "c-open").await;
    create(ledger, "c-failed").await;
    ledger.claim(TARGET, "c-failed", at(5)).await.unwrap();
    end(ledger, "c-failed", true, at(10)).await;
    create(ledger, "c-late").await;
    end(ledger, "c-late", true, at(100)).await;
    for (id, received) in [("g-1", 10), ("g-2", 20)] {
        ledger.accept(delivery(id, at(received)), Vec::new()).await.unwrap();
    }
    assert_eq!(ledger.deployed(TARGET, "iris-3").await.unwrap().unwrap().id, "c-3");
    let gone = ledger.compact(at(20), at(100)).await.unwrap();
    assert_eq!((gone.deliveries, gone.commands), (1, 9));
    assert_eq!(ledger.missing(&["g-1".into(), "g-2".into()]).await.unwrap(), ["g-1"]);
    for id in ["c-0", "c-7", "c-failed"] {
        assert_eq!(ledger.get(id).await.unwrap_err().reason, Reason::NotFound, "{id}");
    }
    for id in ["c-8", "c-27", "c-28", "c-29", "c-open", "c-late"] {
        ledger.get(id).await.unwrap();
    }
    assert_eq!(ledger.deployed(TARGET, "iris-7").await.unwrap(), None);
    assert_eq!(ledger.deployed(TARGET, "iris-8").await.unwrap().unwrap().id, "c-8");
    assert_eq!(ledger.deployed("other", "iris-8").await.unwrap(), None);
    let again = ledger.compact(at(20), at(100)).await.unwrap();
    assert_eq!((again.deliveries, again.commands), (0, 0));
    // Fences outlive those that held them.
    assert_eq!(ledger.claim(TARGET, "c-open", at(101)).await.unwrap(), Claim::Held(101_000));
    // The newest of several; a retry that found the rollout done is none of them.
    let mut retry = create(ledger, "c-retry").await;
    retry.lineage = ledger.get("c-8").await.unwrap().lineage;
    retry.step_mut(Stage::Rollout).state = StepState::Succeeded;
    ledger.update(retry.clone()).await.unwrap().unwrap();
    assert_eq!(ledger.deployed(TARGET, "iris-8").await.unwrap().unwrap().id, "c-8");
    let mut again = ledger.get("c-retry").await.unwrap();
    again.step_mut(Stage::Rollout).end = Some(at(200));
    ledger.update(again).await.unwrap().unwrap();
    assert_eq!(ledger.deployed(TARGET, "iris-8").await.unwrap().unwrap().id, "c-retry");
}

/// A ledger together with what it lies in.
pub(crate) trait OpenOwned: Factory + Sized {
    async fn open_owned(self) -> (Self, Arc<dyn Ledger>) {
        let ledger = self.open().await;
        (self, ledger)
    }
}

impl<F: Factory> OpenOwned for F {}
