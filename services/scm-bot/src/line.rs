//! Waiting lines: whoever came first goes first, and leaving is never forgotten.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

/// Waiting lines by key. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Line(Arc<Inner>);

struct Inner {
    waiting: Mutex<HashMap<String, VecDeque<String>>>,
    moved: watch::Sender<()>,
}

/// A place in a line; dropped, it is left.
pub(crate) struct Ticket {
    line: Line,
    key: String,
    who: String,
}

impl Default for Line {
    fn default() -> Self {
        Self(Arc::new(Inner { waiting: Mutex::default(), moved: watch::channel(()).0 }))
    }
}

impl Line {
    /// Joins the end of a line.
    pub(crate) fn join(&self, key: &str, who: &str) -> Ticket {
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.entry(key.to_owned()).or_default().push_back(who.to_owned());
        Ticket { line: self.clone(), key: key.to_owned(), who: who.to_owned() }
    }

    fn first(&self, key: &str) -> Option<String> {
        let waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.get(key).and_then(|line| line.front().cloned())
    }
}

impl Ticket {
    /// Whether it is our turn.
    pub(crate) fn is_first(&self) -> bool {
        self.line.first(&self.key).as_deref() == Some(&self.who)
    }

    /// Who has the turn.
    pub(crate) fn holder(&self) -> String {
        self.line.first(&self.key).unwrap_or_default()
    }

    /// Until it is our turn.
    pub(crate) async fn turn(&self) {
        let mut moved = self.line.0.moved.subscribe();
        while !self.is_first() {
            if moved.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut waiting = self.line.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = waiting.get_mut(&self.key) {
            if let Some(at) = line.iter().position(|who| *who == self.who) {
                line.remove(at);
            }
            if line.is_empty() {
                waiting.remove(&self.key);
            }
        }
        drop(waiting);
        self.line.0.moved.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn first_come_first_served() {
        let line = Line::default();
        let (first, second, other) = (line.join("k", "a"), line.join("k", "b"), line.join("l", "c"));
        assert!(first.is_first() && !second.is_first() && other.is_first());
        assert_eq!(second.holder(), "a");
        let waiting = tokio::spawn(async move {
            second.turn().await;
            second.is_first()
        });
        drop(first);
        assert!(waiting.await.unwrap());
        assert!(line.join("k", "d").is_first());
    }
}
