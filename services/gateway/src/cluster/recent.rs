//! Answers of the API server, remembered for some seconds.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Most answers kept.
const MOST: usize = 4096;

/// Answers by question, each for a limited time.
pub(super) struct Recent<K, V> {
    life: Duration,
    answers: Mutex<HashMap<K, (Instant, V)>>,
}

impl<K: Eq + Hash, V: Clone> Recent<K, V> {
    pub(super) fn new(life: Duration) -> Self {
        Self { life, answers: Mutex::default() }
    }

    pub(super) fn get(&self, question: &K, now: Instant) -> Option<V> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(question).filter(|(until, _)| *until > now).map(|(_, answer)| answer.clone())
    }

    /// Kept unless there are too many that still hold.
    pub(super) fn put(&self, question: K, answer: V, now: Instant) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= MOST {
            answers.retain(|_, (until, _)| *until > now);
        }
        if answers.len() < MOST {
            answers.insert(question, (now + self.life, answer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_in_time_and_stays_small() {
        let (recent, now) = (Recent::new(Duration::from_secs(10)), Instant::now());
        recent.put(0, "a", now);
        assert_eq!(recent.get(&0, now), Some("a"));
        for n in 1..2 * MOST {
            recent.put(n, "b", now);
        }
        assert_eq!(recent.answers.lock().unwrap().len(), MOST);
        let later = now + Duration::from_secs(11);
        assert_eq!(recent.get(&0, later), None);
        recent.put(MOST, "c", later);
        assert_eq!(recent.get(&MOST, later), Some("c"));
        assert_eq!(recent.answers.lock().unwrap().len(), 1);
    }
}
