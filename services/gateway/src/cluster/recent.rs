//! Answers of the API server, remembered for some seconds.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

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

    pub(super) fn get(&self, question: &K) -> Option<V> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(question).filter(|(until, _)| *until > Instant::now()).map(|(_, answer)| answer.clone())
    }

    /// Kept unless there are too many that still hold.
    pub(super) fn put(&self, question: K, answer: V) {
        let now = Instant::now();
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

    #[tokio::test(start_paused = true)]
    async fn forgets_in_time_and_stays_small() {
        let recent = Recent::new(Duration::from_secs(10));
        recent.put(0, "a");
        assert_eq!(recent.get(&0), Some("a"));
        for n in 1..2 * MOST {
            recent.put(n, "b");
        }
        assert_eq!(recent.answers.lock().unwrap().len(), MOST);
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(recent.get(&0), None);
        recent.put(0, "c");
        assert_eq!(recent.get(&0), Some("c"));
        assert_eq!(recent.answers.lock().unwrap().len(), 1);
    }
}
