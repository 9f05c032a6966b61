use futures::StreamExt as _;
use serde::Deserialize;

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Job {
    id: String,
    spec: u32,
    ended: bool,
}

impl Record for Job {
    const COLLECTION: &'static str = "jobs";
    fn id(&self) -> &str {
        &self.id
    }
    fn ended(&self) -> bool {
        self.ended
    }
    fn same_request(&self, other: &Self) -> bool {
        self.spec == other.spec
    }
}

fn job(id: &str) -> Job {
    Job { id: id.into(), spec: 1, ended: false }
}

fn table() -> (tempfile::TempDir, Table<Job>) {
    let folder = tempfile::tempdir().unwrap();
    let table = Table::open(&folder.path().join("db")).unwrap();
    (folder, table)
}

#[tokio::test]
async fn creating_twice_is_creating_once() {
    let (_folder, table) = table();
    assert!(matches!(table.create(job("a")).await.unwrap(), Created::New(_)));
    table.update("a", |j| j.ended = true).await.unwrap();
    let Created::Existing(existing) = table.create(job("a")).await.unwrap() else { panic!("made twice") };
    assert!(existing.ended);
    let conflict = table.create(Job { spec: 2, ..job("a") }).await.unwrap_err();
    assert_eq!(conflict.reason, Reason::AlreadyExists);
}

#[tokio::test]
async fn open_records_survive_a_restart() {
    let (folder, table) = table();
    for id in ["a", "b", "c"] {
        table.create(job(id)).await.unwrap();
    }
    table.update("b", |j| j.ended = true).await.unwrap();
    drop(table);
    let table: Table<Job> = Table::open(&folder.path().join("db")).unwrap();
    let open: Vec<String> = table.open_records().await.unwrap().into_iter().map(|j| j.id).collect();
    assert_eq!(open, ["a", "c"]);
}

#[tokio::test]
async fn pages_are_whole_and_newest_first() {
    let (_folder, table) = table();
    for i in 0..5 {
        table.create(job(&format!("j{i}"))).await.unwrap();
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = table.list(2, &token).await.unwrap();
        seen.extend(page.items.into_iter().map(|j| j.id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ["j4", "j3", "j2", "j1", "j0"]);
    assert_eq!(table.list(-1, "").await.unwrap_err().reason, Reason::InvalidArgument);
    assert_eq!(table.list(1, "x").await.unwrap_err().reason, Reason::InvalidArgument);
}

#[tokio::test]
async fn a_watch_shows_now_then_changes_then_ends() {
    let (_folder, table) = table();
    table.create(job("a")).await.unwrap();
    let mut stream = Box::pin(table.watch("a").await.unwrap());
    assert_eq!(stream.next().await, Some(job("a")));
    table.update("a", |j| j.ended = true).await.unwrap();
    assert!(stream.next().await.unwrap().ended);
    assert_eq!(stream.next().await, None);
    // A watch on what has ended shows it once.
    let seen: Vec<Job> = table.watch("a").await.unwrap().collect().await;
    assert_eq!(seen.len(), 1);
    assert_eq!(table.watch("z").await.err().unwrap().reason, Reason::NotFound);
}

#[tokio::test]
async fn a_database_that_refuses_keeps_nobody_waiting_and_forgets_nothing() {
    let (folder, table) = table();
    table.create(job("a")).await.unwrap();
    table.create(job("b")).await.unwrap();
    let stream = table.watch("a").await.unwrap();
    // Another process has it: readers read, writers do not write.
    let other = Connection::open(folder.path().join("db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let failure = table.update("a", |j| j.ended = true).await.unwrap_err();
    assert_eq!((failure.reason, failure.retryable), (Reason::StoreUnavailable, true));
    assert!(!table.get("a").await.unwrap().ended);

    table.update_anyway("a", |j| j.ended = true).await.unwrap();
    assert!(table.get("a").await.unwrap().ended);
    assert!(table.list(0, "").await.unwrap().items.iter().any(|j| j.id == "a" && j.ended));
    assert_eq!(table.open_records().await.unwrap(), [job("b")]);
    assert!(stream.collect::<Vec<Job>>().await.last().unwrap().ended);
    let stored = || -> bool { other.query_row("SELECT ended FROM jobs WHERE id = 'a'", [], |row| row.get(0)).unwrap() };
    assert!(!stored());

    other.execute_batch("ROLLBACK").unwrap();
    let saved = async {
        while !stored() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), saved).await.unwrap();
    assert!(table.get("a").await.unwrap().ended);
}
