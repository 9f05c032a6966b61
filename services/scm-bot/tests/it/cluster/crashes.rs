//! A replica that dies at any request of an operation: whoever does the same again completes it, and nothing tells the
//! difference.

use std::{collections::BTreeMap, sync::Arc};

use kfops_core::Failure;
use kfops_scm_bot::{
    cluster::{ClusterLedger, Term},
    command::{Command, Repository, State},
    ports::{Filter, Ledger as _},
    push::Push,
};

use super::{
    gate::{Break, Gate},
    ledger::{ledger, ledger_through},
    server::Place,
};
use crate::ledger::{TARGET, at, command, create, delivery};

/// Everything that a ledger shows, without what counts changes and places.
async fn digest(ledger: &ClusterLedger, deliveries: &[&str]) -> String {
    let all = ledger.list(Filter::default(), 1000, "").await.unwrap().commands;
    let all: BTreeMap<_, _> =
        all.into_iter().map(|command| (command.id.clone(), Command { seq: 0, version: 0, ..command })).collect();
    let deliveries: Vec<_> = deliveries.iter().map(|guid| (*guid).to_owned()).collect();
    let missing = ledger.missing(&deliveries).await.unwrap();
    format!("{all:#?}\n{:#?}\nmissing {missing:?}", ledger.locks().await.unwrap())
}

/// Breaks an operation at each of its requests, and does it again as another process.
async fn survives<P, A>(deliveries: &[&str], prepare: P, act: A)
where
    P: AsyncFn(&ClusterLedger),
    A: AsyncFn(&ClusterLedger) -> Result<(), Failure>,
{
    let Some(place) = Place::new().await else { return };
    let undisturbed = ledger(&place).await;
    prepare(&undisturbed).await;
    act(&undisturbed).await.unwrap();
    let expected = digest(&undisturbed, deliveries).await;
    let mut broken = 0;
    for number in 1.. {
        let mut over = false;
        for how in [Break::Before, Break::After] {
            let place = Place::new().await.unwrap();
            prepare(&ledger(&place).await).await;
            let gate = Arc::new(Gate::default());
            let dying = ledger_through(&place, &gate, Term::default()).await;
            gate.break_at(number, how);
            let done = act(&dying).await;
            over |= !gate.is_cut();
            broken += usize::from(gate.is_cut());
            if let Err(failure) = done {
                assert!(failure.retryable, "{number} {how:?}: {failure:?}");
            }
            drop(dying);
            let heir = ledger(&place).await;
            act(&heir).await.unwrap();
            assert_eq!(digest(&heir, deliveries).await, expected, "request {number}, {how:?}");
        }
        if over {
            break;
        }
    }
    println!("{broken} crashes survived");
    assert!(broken >= 2);
}

fn written(id: &str, second: u64) -> Command {
    Command { written: Some(at(second)), ..command(id) }
}

fn push(second: u64) -> Push {
    let repository = Repository::parse("o/r").unwrap();
    Push { repository, pull_request: 1, before: "a".into(), head: "b".into(), at: at(second) }
}

#[tokio::test]
async fn a_comment_is_taken_whole() {
    let prepare = async |ledger: &ClusterLedger| {
        ledger.accept_push(delivery("p-0", at(1)), push(10), at(1)).await.unwrap();
    };
    survives(&["g-1", "g-2"], prepare, async |ledger: &ClusterLedger| {
        let commands = vec![written("c-1", 5), written("c-2", 15), command("c-3")];
        ledger.accept(delivery("g-1", at(2)), commands).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_push_is_told_to_everybody() {
    let prepare = async |ledger: &ClusterLedger| {
        let commands = vec![written("c-1", 5), written("c-2", 15), written("c-3", 6)];
        ledger.accept(delivery("g-1", at(2)), commands).await.unwrap();
        ledger.accept_push(delivery("p-0", at(1)), push(2), at(1)).await.unwrap();
    };
    survives(&["p-1"], prepare, async |ledger: &ClusterLedger| {
        ledger.accept_push(delivery("p-1", at(20)), push(10), at(30)).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_command_of_the_api_is_made_once() {
    let nothing = async |_: &ClusterLedger| {};
    survives(&[], nothing, async |ledger: &ClusterLedger| {
        let command = Command { arguments: vec!["--force".into()], ..command("c-1") };
        ledger.create(command).await.map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_lock_is_given_once() {
    let prepare = async |ledger: &ClusterLedger| {
        for id in ["c-1", "c-2", "c-3"] {
            create(ledger, id).await;
        }
    };
    survives(&[], prepare, async |ledger: &ClusterLedger| {
        ledger.claim(TARGET, "c-2", at(1)).await?;
        ledger.claim(TARGET, "c-1", at(2)).await.map(drop)
    })
    .await;
}

/// However far the update got: the lock is free once the outcome is known, and not before.
#[tokio::test]
async fn an_outcome_frees_what_was_held() {
    let prepare = async |ledger: &ClusterLedger| {
        for id in ["c-1", "c-2", "c-3"] {
            create(ledger, id).await;
            ledger.claim(TARGET, id, at(1)).await.unwrap();
        }
    };
    let update = async |ledger: &ClusterLedger| {
        let mut command = ledger.get("c-1").await?;
        if command.outcome.is_none() {
            (command.outcome, command.updated) = (Some(State::Failed), at(3));
            ledger.update(command).await?;
        }
        let free = ledger.locks().await?.iter().all(|lock| lock.holder.as_deref() != Some("c-1"));
        assert!(free, "the outcome is known, and the lock is held");
        ledger.claim(TARGET, "c-2", at(4)).await.map(drop)
    };
    survives(&[], prepare, update).await;
}

/// Two at once, one of which dies: the other one's work stands.
#[tokio::test]
async fn the_same_delivery_at_two_replicas_counts_once() {
    let Some(place) = Place::new().await else { return };
    let (one, two) = (ledger(&place).await, ledger(&place).await);
    for number in 0..20 {
        let (guid, first, second) = (format!("g-{number}"), format!("c-{number}-a"), format!("c-{number}-b"));
        let take = |ledger: &ClusterLedger| {
            let (ledger, commands) = (ledger.clone(), vec![command(&first), command(&second)]);
            let delivery = delivery(&guid, at(1));
            async move { ledger.accept(delivery, commands).await }
        };
        let (a, b) = futures::join!(take(&one), take(&two));
        let new = |accepted: Result<kfops_scm_bot::ports::Accepted, Failure>| match accepted.unwrap() {
            kfops_scm_bot::ports::Accepted::New(new) => new.len(),
            kfops_scm_bot::ports::Accepted::Duplicate => 0,
        };
        assert_eq!(new(a) + new(b), 2, "{guid}");
    }
    assert_eq!(one.open_ids().await.unwrap().len(), 40);
}
