//! The ledger keeps its promises: durable, once, in order.

use std::time::{Duration, UNIX_EPOCH};

use kfops_core::TraceContext;

use super::*;
use crate::{
    command::{Origin, Repository, State},
    verb::Verb,
};

const TARGET: &str = "namespaces/n/inferenceServices/iris";

fn command(id: &str) -> Command {
    let on = (Repository::parse("o/r").unwrap(), 1);
    Command::new(id.into(), Verb::Build, on, "a".into(), Origin::Api, TraceContext::from_random([1; 24]), UNIX_EPOCH)
}

fn delivery(id: &str) -> Delivery {
    Delivery { id: id.into(), event: "issue_comment".into(), payload: "{}".into(), received: SystemTime::now() }
}

fn open(folder: &Path) -> SqliteLedger {
    SqliteLedger::open(folder, SystemTime::now()).unwrap()
}

#[tokio::test]
async fn a_delivery_and_a_comment_count_once() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    let accepted = ledger.accept(delivery("g-1"), vec![command("c-1"), command("c-2")]).await.unwrap();
    assert!(matches!(accepted, Accepted::New(commands) if commands.len() == 2 && commands[0].seq < commands[1].seq));
    assert_eq!(ledger.accept(delivery("g-1"), vec![command("c-9")]).await.unwrap(), Accepted::Duplicate);
    assert_eq!(ledger.accept(delivery("g-2"), vec![command("c-1")]).await.unwrap(), Accepted::Duplicate);
    assert_eq!(ledger.open().await.unwrap().len(), 2);
    drop(ledger);
    let ledger = open(folder.path());
    assert_eq!(ledger.open().await.unwrap().len(), 2);
    assert_eq!(ledger.accept(delivery("g-1"), vec![command("c-9")]).await.unwrap(), Accepted::Duplicate);
}

#[tokio::test]
async fn an_old_version_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    let Created::New(first) = ledger.create(command("c-1")).await.unwrap() else { panic!("not new") };
    let mut changed = first.clone();
    changed.state = State::Succeeded;
    let changed = ledger.update(changed).await.unwrap().unwrap();
    assert_eq!(ledger.update(first).await.unwrap(), None);
    assert_eq!(ledger.get("c-1").await.unwrap(), changed);
    assert!(ledger.open().await.unwrap().is_empty());
    assert!(matches!(ledger.create(command("c-1")).await.unwrap(), Created::Existing(existing) if existing == changed));
    let mut other = command("c-1");
    other.verb = Verb::Ship;
    assert_eq!(ledger.create(other).await.unwrap_err().reason, Reason::AlreadyExists);
}

#[tokio::test]
async fn many_writers_share_transactions() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    let tasks: Vec<_> = (0..500)
        .map(|number| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                ledger.accept(delivery(&format!("g-{number}")), vec![command(&format!("c-{number}"))]).await.unwrap()
            })
        })
        .collect();
    for task in tasks {
        assert!(matches!(task.await.unwrap(), Accepted::New(_)));
    }
    let mut token = String::new();
    let mut seen = Vec::new();
    loop {
        let page = ledger.list(Filter::default(), 99, &token).await.unwrap();
        seen.extend(page.commands.into_iter().map(|command| command.seq));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), 500);
    assert!(seen.is_sorted_by(|a, b| a > b));
}

#[tokio::test]
async fn lists_are_filtered() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    ledger.create(command("c-1")).await.unwrap();
    ledger.create(Command { pull_request: 2, ..command("c-2") }).await.unwrap();
    ledger.create(Command { repository: Repository::parse("o/other").unwrap(), ..command("c-3") }).await.unwrap();
    let repository = Repository::parse("o/r").ok();
    let page = ledger.list(Filter { repository, pull_request: Some(2) }, 0, "").await.unwrap();
    assert_eq!(page.commands.len(), 1);
    assert_eq!(page.commands[0].id, "c-2");
    assert_eq!(ledger.get("c-4").await.unwrap_err().reason, Reason::NotFound);
    assert_eq!(ledger.list(Filter::default(), -1, "").await.unwrap_err().reason, Reason::InvalidArgument);
}

#[tokio::test]
async fn names_of_repositories_are_found_in_any_case() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    ledger.create(Command { repository: Repository::parse("O/R").unwrap(), ..command("c-1") }).await.unwrap();
    let filter = Filter { repository: Repository::parse("o/r").ok(), pull_request: Some(1) };
    assert_eq!(ledger.list(filter, 0, "").await.unwrap().commands.len(), 1);
}

#[tokio::test]
async fn two_processes_are_one_too_many() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    let failure = SqliteLedger::open(folder.path(), UNIX_EPOCH).map(|_| ()).unwrap_err();
    assert!(failure.message.contains(&format!("in use by process {}", std::process::id())), "{failure:?}");
    assert!(!failure.action.is_empty());
    drop(ledger);
    open(folder.path());
}

/// A ledger as it was before schemas were counted.
fn first(folder: &Path, records: &[(&str, &Command)]) {
    let connection = Connection::open(folder.join("ledger.db")).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL;
             CREATE TABLE deliveries (
               id TEXT PRIMARY KEY, event TEXT NOT NULL, received INTEGER NOT NULL, payload BLOB NOT NULL) STRICT;
             CREATE TABLE commands (
               seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, version INTEGER NOT NULL,
               repository TEXT NOT NULL, pull_request INTEGER NOT NULL, ended INTEGER NOT NULL, record TEXT NOT NULL
             ) STRICT;
             INSERT INTO deliveries VALUES ('g-1', 'issue_comment', 5, x'7b7d');",
        )
        .unwrap();
    for (id, command) in records {
        connection
            .execute(
                "INSERT INTO commands (id, version, repository, pull_request, ended, record) VALUES (?1, 3, 'o/r', 1, ?2, ?3)",
                params![id, command.state.ended(), serde_json::to_string(command).unwrap()],
            )
            .unwrap();
    }
}

#[tokio::test]
async fn an_older_ledger_keeps_working() {
    let folder = tempfile::tempdir().unwrap();
    let mut live = command("c-1");
    live.state = State::Failed;
    live.lineage.inference_service = TARGET.into();
    live.lineage.revision = "iris-1".into();
    let step = live.step_mut(crate::step::Stage::Rollout);
    (step.state, step.end) = (crate::step::StepState::Succeeded, Some(UNIX_EPOCH));
    first(folder.path(), &[("c-1", &live), ("c-2", &command("c-2"))]);
    let ledger = open(folder.path());
    let open_ones = ledger.open().await.unwrap();
    assert_eq!(open_ones.iter().map(|command| command.id.as_str()).collect::<Vec<_>>(), ["c-2"]);
    assert_eq!(open_ones[0].version, 3);
    assert_eq!(ledger.deployed(TARGET, "iris-1").await.unwrap().unwrap().id, "c-1");
    assert_eq!(ledger.missing(&["g-1".into(), "g-2".into()]).await.unwrap(), ["g-2"]);
    assert_eq!(ledger.claim(TARGET, "c-2", UNIX_EPOCH).await.unwrap(), Claim::Held(1));
    assert_eq!(ledger.claim(TARGET, "c-1", UNIX_EPOCH).await.unwrap_err().reason, Reason::InvalidArgument);
    drop(ledger);
    let connection = Connection::open(folder.path().join("ledger.db")).unwrap();
    let vacuum: i64 = connection.pragma_query_value(None, "auto_vacuum", |row| row.get(0)).unwrap();
    assert_eq!(vacuum, 2);
}

#[tokio::test]
async fn a_ledger_without_pushes_gets_them() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    let born = ledger.born().await.unwrap();
    ledger.create(command("c-1")).await.unwrap();
    drop(ledger);
    let connection = Connection::open(folder.path().join("ledger.db")).unwrap();
    connection.execute_batch("DROP TABLE pushes; PRAGMA user_version = 1").unwrap();
    drop(connection);
    let ledger = open(folder.path());
    assert_eq!((ledger.born().await.unwrap(), ledger.get("c-1").await.unwrap().version), (born, 1));
    let push = crate::push::Push {
        repository: crate::command::Repository::parse("O/R").unwrap(),
        pull_request: 1,
        before: "a".into(),
        head: "b".into(),
        at: UNIX_EPOCH,
    };
    assert_eq!(ledger.accept_push(delivery("p-1"), push, UNIX_EPOCH).await.unwrap(), Some(Vec::new()));
}

#[tokio::test]
async fn a_newer_ledger_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let connection = Connection::open(folder.path().join("ledger.db")).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    let failure = SqliteLedger::open(folder.path(), UNIX_EPOCH).map(|_| ()).unwrap_err();
    assert!(failure.message.contains("newer scm-bot: its schema is 99"), "{failure:?}");
}

#[tokio::test]
async fn a_record_that_cannot_be_read_blocks_nobody() {
    for broken in ["", "{", r#"{"verb":"juggle","actor":"boss"}"#] {
        let folder = tempfile::tempdir().unwrap();
        let ledger = open(folder.path());
        for id in ["c-1", "c-2", "c-3"] {
            ledger.create(command(id)).await.unwrap();
        }
        ledger.claim(TARGET, "c-2", UNIX_EPOCH).await.unwrap();
        drop(ledger);
        let connection = Connection::open(folder.path().join("ledger.db")).unwrap();
        connection.execute("UPDATE commands SET record = ?1 WHERE id = 'c-2'", [broken]).unwrap();
        drop(connection);
        let ledger = open(folder.path());
        let ids: Vec<_> = ledger.open().await.unwrap().into_iter().map(|command| command.id).collect();
        assert_eq!(ids, ["c-1", "c-3"]);
        let page = ledger.list(Filter::default(), 0, "").await.unwrap();
        assert_eq!(page.commands.len(), 3);
        let shown = ledger.get("c-2").await.unwrap();
        assert_eq!((shown.state, shown.pull_request, shown.seq), (State::Failed, 1, 2));
        assert_eq!(shown.failure.unwrap().reason, Reason::Internal);
        // Nobody drives it, so that somebody must be able to take its lock.
        assert!(ledger.seize(TARGET, "c-2", UNIX_EPOCH).await.unwrap());
        assert_eq!(ledger.claim(TARGET, "c-3", UNIX_EPOCH).await.unwrap(), Claim::Held(2));
    }
}

#[tokio::test]
async fn locks_of_the_dead_are_freed_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    ledger.create(command("c-1")).await.unwrap();
    ledger.claim(TARGET, "c-1", UNIX_EPOCH).await.unwrap();
    drop(ledger);
    let connection = Connection::open(folder.path().join("ledger.db")).unwrap();
    connection
        .execute_batch(
            "UPDATE locks SET holder = 'c-gone'; INSERT INTO lock_queue (target, command) VALUES ('t', 'c-lost')",
        )
        .unwrap();
    drop(connection);
    let ledger = open(folder.path());
    let locks = ledger.locks().await.unwrap();
    assert_eq!((locks[0].holder.as_ref(), locks[0].fence, locks[0].queue.len()), (None, 1, 0));
    assert_eq!(ledger.claim(TARGET, "c-1", UNIX_EPOCH).await.unwrap(), Claim::Held(2));
}

#[tokio::test]
async fn space_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(folder.path());
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..1200 {
        let ledger = ledger.clone();
        let payload = vec![b'x'; 10_000].into();
        let delivery = Delivery { payload, received: UNIX_EPOCH, ..delivery(&format!("g-{number}")) };
        tasks.spawn(async move { ledger.accept(delivery, Vec::new()).await.unwrap() });
    }
    tasks.join_all().await;
    let comment = Origin::Comment { delivery: "g-open".into(), comment: 1, index: 0 };
    let held = Command { origin: comment, ..command("c-1") };
    let with = Delivery { received: UNIX_EPOCH, ..delivery("g-open") };
    ledger.accept(with, vec![held]).await.unwrap();
    let day = UNIX_EPOCH + Duration::from_secs(86_400);
    // The payload of a command that is open stays.
    assert_eq!(ledger.shrink(day).await.unwrap(), 1200);
    let size = |name: &str| std::fs::metadata(folder.path().join(name)).map_or(0, |data| data.len());
    // Of 12 MB; what is left are the heads of the rows.
    assert!(size("ledger.db") < 3_000_000, "{}", size("ledger.db"));
    assert_eq!(size("ledger.db-wal"), 0);
    assert!(ledger.missing(&["g-7".into()]).await.unwrap().is_empty());
    assert_eq!(ledger.shrink(day).await.unwrap(), 0);
}
