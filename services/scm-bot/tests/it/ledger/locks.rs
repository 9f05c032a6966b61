//! A model of the locks of a ledger, and random operations on both.

use std::collections::HashMap;

use kfops_scm_bot::ports::{Claim, Ledger};
use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, TestRunner},
};

use super::{Factory, at, create, end};

const COMMANDS: usize = 6;
const TARGETS: usize = 2;
const CASES: usize = 60;

#[derive(Debug, Clone, Copy)]
enum Operation {
    Claim(usize, usize),
    Seize(usize, usize),
    Decide(usize),
    End(usize),
    Compact,
    Crash,
}

#[derive(Debug, Default)]
struct Lock {
    holder: Option<usize>,
    fence: u64,
    queue: Vec<usize>,
}

#[derive(Debug, Default)]
struct Model {
    locks: HashMap<usize, Lock>,
    settled: Vec<usize>,
}

impl Model {
    /// None: a failure.
    fn claim(&mut self, target: usize, command: usize) -> Option<Claim> {
        if self.settled.contains(&command) {
            return None;
        }
        let lock = self.locks.entry(target).or_default();
        if lock.holder == Some(command) {
            return Some(Claim::Held(lock.fence));
        }
        if !lock.queue.contains(&command) {
            lock.queue.push(command);
        }
        if lock.holder.is_none() && lock.queue[0] == command {
            lock.queue.remove(0);
            lock.fence = (lock.fence + 1).max(1000);
            lock.holder = Some(command);
            return Some(Claim::Held(lock.fence));
        }
        let place = lock.queue.iter().position(|other| *other == command).unwrap();
        let (holder, ahead) = lock.holder.map_or((lock.queue[0], place.saturating_sub(1)), |holder| (holder, place));
        Some(Claim::Waiting { holder: id(holder), ahead })
    }

    fn seize(&mut self, target: usize, command: usize) -> bool {
        let Some(lock) = self.locks.get_mut(&target).filter(|lock| lock.holder == Some(command)) else { return false };
        lock.holder = None;
        true
    }

    fn settle(&mut self, command: usize) {
        self.settled.push(command);
        for lock in self.locks.values_mut() {
            lock.holder = lock.holder.filter(|holder| *holder != command);
            lock.queue.retain(|other| *other != command);
        }
    }
}

fn id(command: usize) -> String {
    format!("c-{command}")
}

fn target(target: usize) -> String {
    format!("namespaces/n/inferenceServices/t-{target}")
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let one = prop_oneof![
        12 => (0..TARGETS, 0..COMMANDS).prop_map(|(target, command)| Operation::Claim(target, command)),
        3 => (0..TARGETS, 0..COMMANDS).prop_map(|(target, command)| Operation::Seize(target, command)),
        1 => (0..COMMANDS).prop_map(Operation::Decide),
        1 => (0..COMMANDS).prop_map(Operation::End),
        1 => Just(Operation::Compact),
        1 => Just(Operation::Crash),
    ];
    prop::collection::vec(one, 1..40)
}

pub(crate) async fn locks_follow_the_model<F: Factory>() {
    let mut runner = TestRunner::new(Config::default());
    for _ in 0..CASES {
        let operations = operations().new_tree(&mut runner).unwrap().current();
        follow::<F>(&operations).await;
    }
}

async fn follow<F: Factory>(operations: &[Operation]) {
    let factory = F::new();
    let mut ledger = factory.open().await;
    let mut model = Model::default();
    for command in 0..COMMANDS {
        create(ledger.as_ref(), &id(command)).await;
    }
    for (number, operation) in operations.iter().enumerate() {
        let seen = format!("operation {number} of {operations:?}");
        match *operation {
            Operation::Claim(on, command) => {
                let claim = ledger.claim(&target(on), &id(command), at(1)).await;
                assert_eq!(claim.ok(), model.claim(on, command), "{seen}");
            }
            Operation::Seize(on, command) => {
                let seized = ledger.seize(&target(on), &id(command), at(1)).await.unwrap();
                assert_eq!(seized, model.seize(on, command), "{seen}");
            }
            Operation::Decide(command) | Operation::End(command) if model.settled.contains(&command) => {}
            Operation::Decide(command) => {
                end(ledger.as_ref(), &id(command), false, at(1)).await;
                model.settle(command);
            }
            Operation::End(command) => {
                end(ledger.as_ref(), &id(command), true, at(1)).await;
                model.settle(command);
            }
            Operation::Compact => {
                ledger.compact(at(2), at(2)).await.unwrap();
            }
            Operation::Crash => {
                drop(ledger);
                ledger = factory.open().await;
            }
        }
        agree(ledger.as_ref(), &model, &seen).await;
    }
}

async fn agree(ledger: &dyn Ledger, model: &Model, seen: &str) {
    let mut expected: Vec<_> = model
        .locks
        .iter()
        .filter(|(_, lock)| lock.fence > 0)
        .map(|(on, lock)| {
            (target(*on), lock.holder.map(id), lock.fence, lock.queue.iter().copied().map(id).collect::<Vec<_>>())
        })
        .collect();
    expected.sort();
    let locks = ledger.locks().await.unwrap().into_iter();
    let mut found: Vec<_> = locks.map(|lock| (lock.target, lock.holder, lock.fence, lock.queue)).collect();
    found.sort();
    assert_eq!(found, expected, "{seen}");
}
