//! How quick the ledger is, printed; run by name: `cargo test -p kfops-scm-bot --release --test it -- --ignored --nocapture ledger::speed`.

use std::sync::Arc;

use kfops_scm_bot::{
    command::{Command, Repository, State},
    ports::{Accepted, Delivery, Filter},
};
use tokio::task::JoinSet;

use super::{Factory, OpenOwned, Sqlite, at, command, delivery};

/// Accepted deliveries per second, each durable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints how quick the ledger is"]
async fn accepted_per_second() {
    const EACH: usize = 400;
    for (concurrent, size) in [(1, 12_000), (64, 12_000), (64, 0), (256, 12_000)] {
        let (_factory, ledger) = Sqlite::new().open_owned().await;
        let start = std::time::Instant::now();
        let mut tasks = JoinSet::new();
        for task in 0..concurrent {
            let ledger = Arc::clone(&ledger);
            tasks.spawn(async move {
                let mut times = Vec::with_capacity(EACH);
                for number in 0..EACH {
                    let id = format!("{task}-{number}");
                    let payload = vec![b'x'; size].into();
                    let delivery = Delivery { payload, ..delivery(&format!("g-{id}"), at(1)) };
                    let start = std::time::Instant::now();
                    let new = ledger.accept(delivery, vec![command(&format!("c-{id}"))]).await.unwrap();
                    times.push(start.elapsed());
                    assert!(matches!(new, Accepted::New(_)));
                }
                times
            });
        }
        let mut times: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
        let took = start.elapsed();
        times.sort();
        let rate = times.len() as f64 / took.as_secs_f64();
        let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        println!("{concurrent} at once, {size} bytes: {rate:.0}/s, p50 {p50:?}, p99 {p99:?}");
    }
}

/// How long a start takes with much in the ledger.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints how quick the ledger is"]
async fn opened_with_a_million() {
    let factory = Sqlite::new();
    drop(factory.open().await);
    let file = factory.0.path().join("ledger.db");
    let connection = rusqlite::Connection::open(&file).unwrap();
    let (open, ended) = (command("c"), Command { state: State::Failed, ..command("c") });
    let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
        INSERT INTO commands (id, version, repository, pull_request, ended, settled, ended_at, record)
        SELECT ?2 || i, 1, 'o/r', i % 5000, ?3, ?3, iif(?3, 1, NULL), ?4 FROM n";
    for (count, prefix, ended, record) in [(1_000_000, "e-", true, &ended), (10_000, "o-", false, &open)] {
        let record = serde_json::to_string(record).unwrap();
        connection.execute(sql, rusqlite::params![count, prefix, ended, record]).unwrap();
    }
    drop(connection);
    let timed = |what: &str, start: std::time::Instant| println!("{what}: {:?}", start.elapsed());
    let start = std::time::Instant::now();
    let ledger = factory.open().await;
    timed("opened", start);
    let start = std::time::Instant::now();
    assert_eq!(ledger.open().await.unwrap().len(), 10_000);
    timed("10,000 open commands read", start);
    let start = std::time::Instant::now();
    let filter = Filter { repository: Repository::parse("o/r").ok(), pull_request: Some(7) };
    assert_eq!(ledger.list(filter, 50, "").await.unwrap().commands.len(), 50);
    timed("a pull request's commands", start);
    let start = std::time::Instant::now();
    let gone = ledger.compact(at(0), at(10)).await.unwrap();
    timed(&format!("{} forgotten", gone.commands), start);
}
