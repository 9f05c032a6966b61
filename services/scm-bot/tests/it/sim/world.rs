//! The world: what is true outside of the bot.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kfops_core::Failure;
use tokio::sync::{Notify, watch};

use super::{
    gate::{Fault, Gate, Port, patience},
    hub::Hub,
    jobs::Jobs,
    ledger::Book,
    time::Time,
};

/// What is true outside of the bot.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) hub: Hub,
    pub(crate) jobs: Jobs,
    pub(crate) book: Book,
    /// What happened, in order, for people.
    pub(crate) log: Vec<(Duration, String)>,
}

/// The world. It outlives every bot.
pub(crate) struct World {
    pub(crate) time: Time,
    state: Mutex<State>,
    gate: Mutex<Gate>,
    /// Something is other than before.
    pub(crate) changed: watch::Sender<()>,
    /// The bot is to die now.
    pub(crate) killed: Notify,
    /// Nothing takes time: for tests that run in real time.
    pub(crate) instant: bool,
}

impl World {
    pub(crate) fn new(instant: bool) -> Arc<Self> {
        Arc::new(Self {
            time: Time::default(),
            state: Mutex::default(),
            gate: Mutex::default(),
            changed: watch::channel(()).0,
            killed: Notify::new(),
            instant,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the world, or changes it by hand.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        let passed = self.time.passed();
        let result = {
            let mut state = self.lock();
            state.jobs.advance(passed);
            let result = look(&mut state);
            state.jobs.advance(passed);
            result
        };
        self.changed.send_replace(());
        result
    }

    pub(crate) fn note(&self, line: impl Into<String>) {
        let passed = self.time.passed();
        self.lock().log.push((passed, line.into()));
    }

    /// A call of the bot: it takes time, it may be broken, and it may be the last.
    pub(crate) async fn call<T>(
        &self,
        port: Port,
        name: &'static str,
        writes: bool,
        effect: impl FnOnce(&mut State, Duration) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let Some((number, fault, latency)) = self.admit(port, name, writes) else {
            return std::future::pending().await;
        };
        self.die_at(number, true, name).await;
        if !self.instant {
            tokio::time::sleep(latency).await;
        }
        if self.is_dead() {
            return std::future::pending().await;
        }
        if fault != Fault::None {
            self.note(format!("  ! {name}: {fault:?}"));
        }
        assert!(fault != Fault::Panics, "planted");
        if let Fault::Refused | Fault::Hangs(false) = fault {
            if fault != Fault::Refused {
                tokio::time::sleep(patience(port)).await;
            }
            return Err(port.away(name));
        }
        let result = {
            let passed = self.time.passed();
            let mut state = self.lock();
            state.jobs.advance(passed);
            let result = effect(&mut state, passed);
            state.jobs.advance(passed);
            result
        };
        if writes {
            self.note(name);
            self.changed.send_replace(());
            self.die_at(number, false, name).await;
        }
        match fault {
            Fault::Lost => Err(port.away(name)),
            Fault::Hangs(_) => {
                tokio::time::sleep(patience(port)).await;
                Err(port.away(name))
            }
            _ => result,
        }
    }

    /// None: the bot is dead.
    fn admit(&self, port: Port, name: &'static str, writes: bool) -> Option<(usize, Fault, Duration)> {
        let passed = self.time.passed();
        let mut gate = self.gate();
        let admitted = (!gate.dead).then(|| gate.admit(port, name, writes, passed))?;
        Some((admitted.0, admitted.1, gate.latency(port)))
    }

    fn is_dead(&self) -> bool {
        self.gate().dead
    }

    async fn die_at(&self, number: usize, before: bool, name: &str) {
        let due = {
            let mut gate = self.gate();
            let due = gate.kill == Some((number, before));
            gate.dead |= due;
            due
        };
        if due {
            self.note(format!("  † killed {} {name} (call {number})", if before { "before" } else { "after" }));
            self.killed.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

impl World {
    /// Looks without changing anything.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        let passed = self.time.passed();
        let mut state = self.lock();
        state.jobs.advance(passed);
        look(&state)
    }
}
