//! The ledger keeps its promises: durable, once, in order.

use kfops_core::TraceContext;

use super::*;
use crate::{
    command::{Origin, Repository, State},
    verb::Verb,
};

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
