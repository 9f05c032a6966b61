//! A comment and a push at two replicas, one held back at each of its requests while the other goes on: the command learns of
//! the push in any case, before anybody drives it.

use std::sync::Arc;

use kfops_scm_bot::{
    cluster::{ClusterLedger, Term},
    command::{Command, Repository},
    ports::Ledger as _,
    push::Push,
};

use super::{
    gate::Gate,
    ledger::{ledger, ledger_through},
    server::Place,
};
use crate::ledger::{at, command, delivery};

async fn comment(ledger: &ClusterLedger) {
    let command = Command { written: Some(at(5)), ..command("c-1") };
    ledger.accept(delivery("g-1", at(6)), vec![command]).await.unwrap();
}

async fn push(ledger: &ClusterLedger) {
    let repository = Repository::parse("o/r").unwrap();
    let push = Push { repository, pull_request: 1, before: "a".into(), head: "b".into(), at: at(10) };
    ledger.accept_push(delivery("p-1", at(11)), push, at(12)).await.unwrap();
}

/// What the leader sees of the command when it begins to drive it.
async fn taken_up(leader: &ClusterLedger) -> Option<Option<String>> {
    loop {
        let Ok(command) = leader.get("c-1").await else { return None };
        if let Some(command) = leader.adopt(command).await.unwrap() {
            return Some(command.superseded_by);
        }
    }
}

#[tokio::test]
async fn a_comment_and_a_push_that_cross_see_each_other() {
    if Place::new().await.is_none() {
        return;
    }
    for slow_comment in [true, false] {
        for number in 1.. {
            let place = Place::new().await.unwrap();
            let gate = Arc::new(Gate::default());
            let slow = ledger_through(&place, &gate, Term::default()).await;
            let (quick, leader) = (ledger(&place).await, ledger(&place).await);
            gate.hold_at(number);
            let mut first =
                tokio::spawn(async move { if slow_comment { comment(&slow).await } else { push(&slow).await } });
            let over = tokio::select! {
                () = gate.held() => false,
                done = &mut first => { done.unwrap(); true }
            };
            if slow_comment {
                push(&quick).await
            } else {
                comment(&quick).await
            }
            // The leader may be as quick as it likes: between the two, it sees both or none.
            let early = taken_up(&leader).await;
            if !over {
                gate.release();
                first.await.unwrap();
            }
            let seen = taken_up(&leader).await.unwrap();
            assert_eq!(seen.as_deref(), Some("b"), "slow comment: {slow_comment}, held at {number}, early: {early:?}");
            if over {
                break;
            }
        }
    }
}
