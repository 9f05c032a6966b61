//! One of several drives, never two; what a former one still writes is refused.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::coordination::v1::Lease;
use kfops_core::{Reason, SystemClock};
use kfops_scm_bot::{
    cluster::{ClusterLedger, LeaseElection, Term, Timing},
    command::Command,
    ports::{Election as _, Ledger as _, Standing},
};
use kube::{Api, api::DeleteParams};
use tokio::sync::watch::Receiver;

use super::{
    gate::{Break, Gate, client},
    ledger::ledger_through,
    server::Place,
};
use crate::ledger::{TARGET, at, create};

const PATIENCE: Duration = Duration::from_secs(60);
/// As in earnest, and quicker.
const QUICK: Timing = Timing {
    duration: Duration::from_secs(6),
    deadline: Duration::from_secs(4),
    renew: Duration::from_millis(500),
    retry: Duration::from_millis(100),
};

struct Replica {
    gate: Arc<Gate>,
    election: LeaseElection,
    standing: Receiver<Standing>,
    ledger: ClusterLedger,
}

async fn replica(place: &Place, name: &str) -> Replica {
    let (gate, term) = (Arc::new(Gate::default()), Term::default());
    let client = client(place, &gate).await;
    let election = LeaseElection::new(&client, name.to_owned(), Arc::new(SystemClock), term.clone(), QUICK);
    let standing = kfops_scm_bot::ports::Election::campaign(&election);
    Replica { ledger: ledger_through(place, &gate, term).await, gate, election, standing }
}

impl Replica {
    async fn is(&mut self, expected: Standing) -> Instant {
        let reached = self.standing.wait_for(|standing| *standing == expected);
        tokio::time::timeout(PATIENCE, reached).await.unwrap().unwrap();
        Instant::now()
    }
}

#[tokio::test]
async fn who_resigns_is_followed_at_once() {
    let Some(place) = Place::new().await else { return };
    let mut one = replica(&place, "one").await;
    one.is(Standing::Drives).await;
    let mut two = replica(&place, "two").await;
    tokio::time::timeout(QUICK.duration * 2, two.is(Standing::Drives)).await.unwrap_err();
    assert_eq!(*one.standing.borrow(), Standing::Drives);
    let begin = Instant::now();
    one.election.resign().await;
    let took = two.is(Standing::Drives).await - begin;
    println!("taken over after {took:?}, in order");
    assert!(took < QUICK.duration, "{took:?}");
}

#[tokio::test]
async fn who_is_cut_off_gives_up_before_another_one_drives() {
    let Some(place) = Place::new().await else { return };
    let mut one = replica(&place, "one").await;
    one.is(Standing::Drives).await;
    let mut two = replica(&place, "two").await;
    let begin = Instant::now();
    one.gate.cut(true);
    let (lost, driven) = tokio::join!(one.is(Standing::Lost), two.is(Standing::Drives));
    println!("cut off: given up after {:?}, taken over after {:?}", lost - begin, driven - begin);
    assert!(lost < driven);
}

#[tokio::test]
async fn an_answer_that_is_lost_deposes_nobody() {
    let Some(place) = Place::new().await else { return };
    let mut one = replica(&place, "one").await;
    one.is(Standing::Drives).await;
    for how in [Break::After, Break::Before] {
        one.gate.break_at(1, how);
        let broken = async {
            while !one.gate.is_cut() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, broken).await.unwrap();
        one.gate.break_at(usize::MAX, how);
        one.gate.cut(false);
        let lost = tokio::time::timeout(QUICK.duration, one.standing.wait_for(|standing| *standing == Standing::Lost));
        assert!(lost.await.is_err(), "{how:?}");
    }
}

#[tokio::test]
async fn terms_grow_even_over_a_lease_that_was_deleted() {
    let Some(place) = Place::new().await else { return };
    let leases: Api<Lease> = Api::default_namespaced(place.admin().await);
    let mut one = replica(&place, "one").await;
    one.is(Standing::Drives).await;
    let term = async || {
        let lease = leases.get("kfops-scm-bot").await.unwrap();
        lease.metadata.annotations.unwrap()["kfops.dev/term"].parse::<i64>().unwrap()
    };
    let first = term().await;
    leases.delete("kfops-scm-bot", &DeleteParams::default()).await.unwrap();
    one.is(Standing::Lost).await;
    let mut two = replica(&place, "two").await;
    two.is(Standing::Drives).await;
    assert!(term().await > first);
}

#[tokio::test]
async fn a_former_leader_writes_nothing_into_what_was_taken_over() {
    let Some(place) = Place::new().await else { return };
    let mut one = replica(&place, "one").await;
    one.is(Standing::Drives).await;
    let (mine, theirs) = (create(&one.ledger, "c-1").await, create(&one.ledger, "c-2").await);
    let mine = one.ledger.adopt(mine).await.unwrap().unwrap();
    let theirs = one.ledger.adopt(theirs).await.unwrap().unwrap();
    // It is asleep, and does not know that it is late.
    one.gate.cut(true);
    let mut two = replica(&place, "two").await;
    two.is(Standing::Drives).await;
    let taken = two.ledger.adopt(two.ledger.get("c-1").await.unwrap()).await.unwrap().unwrap();
    assert_eq!(taken.version, mine.version + 1);
    one.gate.cut(false);
    // It has not given up yet as far as this ledger knows, or has: refused in any case.
    let read = Command { version: taken.version, ..mine.clone() };
    for stale in [mine, read, theirs] {
        let refused = one.ledger.update(stale).await;
        assert!(!matches!(refused, Ok(Some(_))), "{refused:?}");
        if let Err(failure) = refused {
            assert_eq!(failure.reason, Reason::StoreUnavailable);
        }
    }
    // Nor does it get a lock in its successor's place.
    let refused = one.ledger.claim(TARGET, "c-1", at(1)).await.unwrap_err();
    assert_eq!(refused.reason, Reason::StoreUnavailable);
    // Everybody else may write a wish, and the leader goes on.
    let three = ledger_through(&place, &Arc::default(), Term::default()).await;
    let wished = three.update(Command { cancel: true, ..taken }).await.unwrap().unwrap();
    two.ledger.update(wished).await.unwrap().unwrap();
}
