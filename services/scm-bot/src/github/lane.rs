//! The way to GitHub of one identity: so many at a time, writes to one repository one after the other, and nobody while
//! GitHub refuses.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    call::{About, Budget, Call},
    limit::Limit,
    tempo::Tempo,
};

/// Most identities and repositories that are remembered while nobody uses them.
const MOST: usize = 1024;
/// The longest pause after a secondary limit that does not say how long.
const LONGEST: Duration = Duration::from_secs(3600);

/// The lanes, by identity.
#[derive(Default)]
pub(super) struct Lanes(Mutex<HashMap<String, Arc<Lane>>>);

/// When the next write to a repository is due, if they came at the even pace.
type Due = Arc<tokio::sync::Mutex<Option<Instant>>>;

/// Where the writers of a repository line up.
#[derive(Default)]
struct Door {
    due: Due,
    /// How many wait whom others let go ahead.
    first: AtomicUsize,
}

/// One that others let go ahead, for as long as it waits.
struct First<'a>(&'a AtomicUsize);

impl Drop for First<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Door {
    async fn enter(&self, later: bool) -> OwnedMutexGuard<Option<Instant>> {
        if !later {
            self.first.fetch_add(1, Ordering::Relaxed);
            let _waits = First(&self.first);
            return Arc::clone(&self.due).lock_owned().await;
        }
        loop {
            let due = Arc::clone(&self.due).lock_owned().await;
            if self.first.load(Ordering::Relaxed) == 0 {
                return due;
            }
            // To the end of the line.
            drop(due);
            tokio::task::yield_now().await;
        }
    }
}

/// One lane.
pub(super) struct Lane {
    slots: Arc<Semaphore>,
    shut: Mutex<Shut>,
    writers: Mutex<HashMap<String, Arc<Door>>>,
}

#[derive(Default)]
struct Shut {
    core: Option<Instant>,
    graphql: Option<Instant>,
    /// Secondary limits in a row that did not say how long.
    strikes: u32,
}

/// The right to send one request.
pub(super) struct Turn {
    _slot: OwnedSemaphorePermit,
    _writer: Option<OwnedMutexGuard<Option<Instant>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lanes {
    pub(super) fn of(&self, identity: &str, tempo: &Tempo) -> Arc<Lane> {
        let mut lanes = locked(&self.0);
        if lanes.len() >= MOST {
            lanes.retain(|_, lane| Arc::strong_count(lane) > 1 || lane.opens(Budget::Core).is_some());
        }
        let lane = lanes.entry(identity.to_owned()).or_insert_with(|| {
            let slots = Arc::new(Semaphore::new(tempo.at_once.max(1)));
            Arc::new(Lane { slots, shut: Mutex::default(), writers: Mutex::default() })
        });
        Arc::clone(lane)
    }
}

impl Lane {
    /// Waits for a turn, at most until the deadline; otherwise how long it would be.
    pub(super) async fn enter(&self, call: &Call<'_>, tempo: &Tempo, deadline: Instant) -> Result<Turn, Duration> {
        let budget = call.budget();
        let rest = || deadline.saturating_duration_since(Instant::now());
        if let Some(opens) = self.opens(budget).filter(|opens| *opens > deadline) {
            return Err(opens - Instant::now());
        }
        let mut writer = None;
        if let (false, About::Repository(repository)) = (call.reads, call.about) {
            let door = self.writer(&repository.to_string().to_ascii_lowercase());
            let mut due = timeout_at(deadline, door.enter(call.later)).await.map_err(|_| tempo.patience)?;
            let now = Instant::now();
            let earliest = due.map_or(now, |due| due.checked_sub(tempo.spacing * tempo.burst).unwrap_or(now));
            if earliest > deadline {
                return Err(earliest - now);
            }
            sleep_until(earliest).await;
            let now = Instant::now();
            *due = Some(due.map_or(now, |due| due.max(now)) + tempo.spacing);
            writer = Some(due);
        }
        loop {
            if let Some(opens) = self.opens(budget) {
                if opens > deadline {
                    return Err(opens.saturating_duration_since(Instant::now()));
                }
                sleep_until(opens).await;
                continue;
            }
            let slot = timeout_at(deadline, Arc::clone(&self.slots).acquire_owned()).await;
            let Ok(Ok(slot)) = slot else { return Err(rest().max(tempo.spacing)) };
            // Whoever had it before may have been refused.
            if self.opens(budget).is_none() {
                return Ok(Turn { _slot: slot, _writer: writer });
            }
        }
    }

    fn opens(&self, budget: Budget) -> Option<Instant> {
        let shut = locked(&self.shut);
        let until = if budget == Budget::Core { shut.core } else { shut.graphql };
        until.filter(|until| *until > Instant::now())
    }

    fn writer(&self, repository: &str) -> Arc<Door> {
        let mut writers = locked(&self.writers);
        if writers.len() >= MOST {
            writers.retain(|_, door| Arc::strong_count(door) > 1 || Arc::strong_count(&door.due) > 1);
        }
        Arc::clone(writers.entry(repository.to_owned()).or_default())
    }

    /// GitHub refuses: all wait.
    pub(super) fn shut(&self, budget: Budget, limit: Limit, tempo: &Tempo) -> Duration {
        let now = Instant::now();
        let mut shut = locked(&self.shut);
        let already = [shut.core, shut.graphql].into_iter().flatten().any(|until| until > now);
        let wait = match limit {
            Limit::Primary(wait) | Limit::Secondary(Some(wait)) => wait.max(tempo.spacing),
            Limit::Secondary(None) => {
                // What was under way when it was shut is the same refusal.
                shut.strikes += u32::from(!already);
                let doubled = tempo.secondary.saturating_mul(1 << shut.strikes.saturating_sub(1).min(10));
                doubled.min(LONGEST)
            }
        };
        let secondary = matches!(limit, Limit::Secondary(_));
        let until = now + wait;
        if secondary || budget == Budget::Core {
            shut.core = shut.core.max(Some(until));
        }
        if secondary || budget == Budget::GraphQl {
            shut.graphql = shut.graphql.max(Some(until));
        }
        wait
    }

    /// GitHub answers again.
    pub(super) fn fine(&self) {
        locked(&self.shut).strikes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Repository;

    fn lane() -> (Arc<Lane>, Tempo) {
        let tempo = Tempo::new(Duration::from_secs(30));
        (Lanes::default().of("x", &tempo), tempo)
    }

    #[tokio::test(start_paused = true)]
    async fn writes_to_a_repository_are_spaced_after_a_burst() {
        let (lane, tempo) = lane();
        let repository = Repository::parse("o/r").unwrap();
        let call = Call::graphql("x", About::Repository(&repository), false, serde_json::Value::Null);
        let start = Instant::now();
        for _ in 0..=tempo.burst {
            drop(lane.enter(&call, &tempo, start + tempo.patience).await.ok().unwrap());
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..3 {
            drop(lane.enter(&call, &tempo, start + tempo.patience).await.ok().unwrap());
        }
        assert!(start.elapsed() >= Duration::from_secs(3) && start.elapsed() < Duration::from_secs(4));
        let turn = lane.enter(&call, &tempo, start + tempo.patience).await.ok().unwrap();
        assert!(lane.enter(&call, &tempo, start + tempo.patience).await.is_err(), "two writes at once");
        drop(turn);
    }

    #[tokio::test(start_paused = true)]
    async fn a_merge_goes_ahead_of_answers() {
        let (lane, tempo) = lane();
        let repository = Repository::parse("o/r").unwrap();
        let (order, deadline) = (Arc::new(Mutex::new(Vec::new())), Instant::now() + Duration::from_secs(900));
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..100 {
            let (lane, tempo, repository, order) = (Arc::clone(&lane), tempo, repository.clone(), Arc::clone(&order));
            tasks.spawn(async move {
                // The last to come.
                let name = if number == 99 { "PUT merge" } else { super::super::call::ANSWER };
                let call = Call::graphql(name, About::Repository(&repository), false, serde_json::Value::Null);
                sleep_until(Instant::now() + Duration::from_millis(10 * number)).await;
                let turn = lane.enter(&call, &tempo, deadline).await.ok().unwrap();
                locked(&order).push(name);
                sleep_until(Instant::now() + Duration::from_millis(200)).await;
                drop(turn);
            });
        }
        tasks.join_all().await;
        let order = locked(&order);
        let place = order.iter().position(|name| *name == "PUT merge").unwrap();
        assert!(order.len() == 100 && place < 10, "place {place}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_holds_everybody_and_grows() {
        let (lane, tempo) = lane();
        let about = About::Organization("o");
        let (rest, graphql) = (Call::get("x", "/x", about), Call::graphql("x", about, true, serde_json::Value::Null));
        let soon = || Instant::now() + tempo.patience;
        lane.shut(Budget::Core, Limit::Primary(Duration::from_secs(5)), &tempo);
        let start = Instant::now();
        drop(lane.enter(&graphql, &tempo, soon()).await.ok().unwrap());
        assert_eq!(start.elapsed(), Duration::ZERO, "another budget");
        drop(lane.enter(&rest, &tempo, soon()).await.ok().unwrap());
        assert!(start.elapsed() >= Duration::from_secs(5));
        for seconds in [60, 120, 240] {
            assert_eq!(lane.shut(Budget::Core, Limit::Secondary(None), &tempo), Duration::from_secs(seconds));
            // Others that were under way hear the same.
            assert_eq!(lane.shut(Budget::Core, Limit::Secondary(None), &tempo), Duration::from_secs(seconds));
            let wait = lane.enter(&graphql, &tempo, soon()).await.err().unwrap();
            assert!(wait > tempo.patience);
            tokio::time::advance(Duration::from_secs(seconds) + Duration::from_millis(1)).await;
        }
        lane.fine();
        assert_eq!(lane.shut(Budget::Core, Limit::Secondary(None), &tempo), Duration::from_secs(60));
    }
}
