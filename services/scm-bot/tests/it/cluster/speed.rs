//! How quick the ledger in a cluster is, printed; run by name:
//! `cargo test -p kfops-scm-bot --test it -- --ignored --nocapture cluster::speed`.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use kfops_scm_bot::{
    command::{Command, Repository},
    ports::{Accepted, Filter, Ledger as _},
};

use super::{ledger::ledger, server::Place};
use crate::ledger::{TARGET, at, command, delivery};

/// Resident, MiB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

fn shown(what: &str, begin: Instant) {
    println!("{what}: {:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints how quick the ledger is"]
async fn ten_thousand_commands() {
    let Some(place) = Place::new().await else { return };
    let ledger = ledger(&place).await;
    let mut made = 0;
    for (concurrent, count) in [(1, 300), (16, 4_000), (64, 5_700)] {
        let begin = Instant::now();
        let numbers = made..made + count;
        let mut times: Vec<Duration> = stream::iter(numbers)
            .map(|number| {
                let ledger = &ledger;
                async move {
                    let command =
                        Command { pull_request: number % 500, written: Some(at(5)), ..command(&format!("c-{number}")) };
                    let begin = Instant::now();
                    let new = ledger.accept(delivery(&format!("g-{number}"), at(6)), vec![command]).await.unwrap();
                    assert!(matches!(new, Accepted::New(_)));
                    begin.elapsed()
                }
            })
            .buffer_unordered(concurrent)
            .collect()
            .await;
        made += count;
        times.sort();
        let rate = f64::from(u32::try_from(times.len()).unwrap()) / begin.elapsed().as_secs_f64();
        let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        println!("{concurrent} at once: {rate:.0} comments/s, p50 {p50:?}, p99 {p99:?}");
    }
    println!("{} MiB after {made} commands", memory());
    let begin = Instant::now();
    assert_eq!(ledger.open_ids().await.unwrap().len(), 10_000);
    shown("ids of 10,000 open commands", begin);
    let begin = Instant::now();
    let filter = Filter { repository: Repository::parse("o/r").ok(), pull_request: Some(7) };
    assert_eq!(ledger.list(filter, 50, "").await.unwrap().commands.len(), 20);
    shown("a pull request's commands", begin);
    let begin = Instant::now();
    assert_eq!(ledger.list(Filter::default(), 50, "").await.unwrap().commands.len(), 50);
    shown("the newest page of all", begin);
    let begin = Instant::now();
    let first = ledger.get("c-1").await.unwrap();
    let first = ledger.update(first).await.unwrap().unwrap();
    shown("read and changed", begin);
    let begin = Instant::now();
    for _ in 0..100 {
        ledger.claim(TARGET, &first.id, at(1)).await.unwrap();
    }
    println!("a lock asked for: {:?}", begin.elapsed() / 100);
    let begin = Instant::now();
    let heard = ledger.changes().unwrap().take(10_000).count().await;
    shown(&format!("{heard} open commands told to a replica that was started"), begin);
    let begin = Instant::now();
    ledger.compact(at(1), at(1)).await.unwrap();
    shown("looked through for what is old", begin);
    println!("{} MiB in the end", memory());
}
