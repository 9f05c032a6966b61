//! Whether this process drives commands. One of several over the same ledger does.

use std::sync::Mutex;

use crate::{command::Command, engine::lock};

/// Whether this process drives commands.
pub(crate) struct Duty(Mutex<State>);

enum State {
    /// Another one does.
    Off,
    /// It takes up what is open; what comes meanwhile has to wait, so that the order stays.
    Begins(Vec<Command>),
    On,
}

impl Duty {
    /// Nobody else does.
    pub(crate) const fn alone() -> Self {
        Self(Mutex::new(State::On))
    }

    /// Another one may.
    pub(crate) const fn shared() -> Self {
        Self(Mutex::new(State::Off))
    }

    /// A new command that is to be driven here and now.
    pub(crate) fn admit(&self, command: Command) -> Option<Command> {
        match &mut *lock(&self.0) {
            State::Off => None,
            State::Begins(waiting) => {
                waiting.push(command);
                None
            }
            State::On => Some(command),
        }
    }

    /// From now on what comes waits.
    pub(crate) fn begin(&self) {
        let mut state = lock(&self.0);
        if matches!(*state, State::Off) {
            *state = State::Begins(Vec::new());
        }
    }

    /// Lets in what waited, in its order, and from now on whatever comes.
    pub(crate) fn go_on(&self, mut admit: impl FnMut(Command)) {
        let mut state = lock(&self.0);
        if let State::Begins(waiting) = &mut *state {
            waiting.sort_by_key(|command| command.seq);
            std::mem::take(waiting).into_iter().for_each(&mut admit);
        }
        *state = State::On;
    }
}
