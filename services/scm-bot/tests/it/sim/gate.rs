//! What may happen to a call of a port, and where the bot dies.

use std::time::Duration;

use kfops_core::{Failure, Reason};

use super::rng::Rng;

/// Who is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Port {
    GitHub,
    Ledger,
    Workers,
    Store,
}

impl Port {
    pub(crate) fn away(self, name: &str) -> Failure {
        let reason = match self {
            Self::GitHub => Reason::GithubUnavailable,
            Self::Workers => Reason::WorkerUnavailable,
            Self::Ledger | Self::Store => Reason::StoreUnavailable,
        };
        Failure::new(reason, format!("{name}: away"))
    }

    /// How long a client waits for an answer that does not come.
    const fn patience(self) -> Duration {
        Duration::from_secs(match self {
            Self::GitHub => 30,
            Self::Workers => 20,
            Self::Ledger | Self::Store => 5,
        })
    }
}

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// It fails at once.
    Refused,
    /// It is done, and the answer is lost.
    Lost,
    /// No answer for a long time; true: it is done all the same.
    Hangs(bool),
    /// Whoever calls breaks.
    Panics,
}

/// Rates of faults, in thousandths, and times at which somebody is away.
#[derive(Debug, Clone)]
pub(crate) struct Weather {
    pub(crate) rng: Rng,
    pub(crate) refused: u64,
    pub(crate) lost: u64,
    pub(crate) hangs: u64,
    /// The ledger takes up to so many milliseconds.
    pub(crate) ledger: u64,
    /// From when to when; since the world began.
    pub(crate) away: Vec<(Port, Duration, Duration)>,
    /// From then on the sky is clear.
    pub(crate) until: Duration,
}

/// A bug that a test plants in a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Planted {
    /// `find` says that nothing was posted.
    FindsNothing,
    /// `claim` gives the lock to everybody.
    AlwaysHeld,
    /// `update` replaces whatever is there.
    UpdatesBlindly,
    /// A push counts when it is told, not when it was made.
    PushesByArrival,
    /// A comment that was taken back still stands.
    CommentsStand,
}

/// Decides about calls.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    /// Calls so far.
    pub(crate) count: usize,
    /// The bot dies at this call (from 1), before or after its effect.
    pub(crate) kill: Option<(usize, bool)>,
    /// It is dead: nothing it began comes back.
    pub(crate) dead: bool,
    pub(crate) weather: Option<Weather>,
    pub(crate) planted: Option<Planted>,
    /// It dies at about every so many calls.
    pub(crate) deaths: Option<(Rng, u64)>,
    /// Calls that did not go well.
    pub(crate) faults: usize,
    /// The next call of this name does not get through like this, once.
    pub(crate) next: Vec<(&'static str, Fault)>,
    /// Names of the calls and whether they write, when somebody wants to know.
    pub(crate) calls: Option<Vec<(&'static str, bool)>>,
}

impl Gate {
    /// The number of a call and what happens to it.
    pub(crate) fn admit(&mut self, port: Port, name: &'static str, writes: bool, passed: Duration) -> (usize, Fault) {
        let (number, fault) = self.decide(port, name, writes, passed);
        self.faults += usize::from(fault != Fault::None);
        if let Some((rng, every)) = &mut self.deaths
            && self.kill.is_none()
            && rng.below(*every) == 0
        {
            self.kill = Some((number, !writes || rng.chance(500)));
        }
        (number, fault)
    }

    fn decide(&mut self, port: Port, name: &'static str, writes: bool, passed: Duration) -> (usize, Fault) {
        self.count += 1;
        if let Some(calls) = &mut self.calls {
            calls.push((name, writes));
        }
        if let Some(at) = self.next.iter().position(|(due, _)| *due == name) {
            return (self.count, self.next.remove(at).1);
        }
        let Some(weather) = self.weather.as_mut().filter(|weather| passed < weather.until) else {
            return (self.count, Fault::None);
        };
        if weather.away.iter().any(|(who, from, to)| *who == port && (*from..*to).contains(&passed)) {
            return (self.count, Fault::Refused);
        }
        let dice = weather.rng.below(1000);
        let fault = if dice < weather.refused {
            Fault::Refused
        } else if dice < weather.refused + weather.lost {
            if writes { Fault::Lost } else { Fault::Refused }
        } else if dice < weather.refused + weather.lost + weather.hangs {
            Fault::Hangs(writes && dice % 2 == 0)
        } else {
            Fault::None
        };
        (self.count, fault)
    }

    pub(crate) fn latency(&mut self, port: Port) -> Duration {
        let (usual, spread) = match port {
            Port::GitHub => (150, 400),
            Port::Workers => (8, 60),
            Port::Ledger | Port::Store => (1, 6),
        };
        Duration::from_millis(match &mut self.weather {
            Some(weather) if port == Port::Ledger => weather.rng.between(1, weather.ledger),
            Some(weather) => weather.rng.between(1, spread),
            None => usual,
        })
    }
}

/// How long the bot waits in vain.
pub(crate) const fn patience(port: Port) -> Duration {
    port.patience()
}
