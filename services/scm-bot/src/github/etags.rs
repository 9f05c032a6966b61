//! Answers that GitHub need not send again: asked with `If-None-Match`, a 304 costs nothing of the hourly budget.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;

/// Most answers that are kept.
const MOST: usize = 256;
/// Largest answer that is kept.
const LARGEST: usize = 64 << 10;

/// The answers, by identity and address.
#[derive(Debug, Default)]
pub(super) struct Etags(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    answers: HashMap<String, (String, Bytes)>,
    /// Oldest first.
    order: VecDeque<String>,
}

impl Etags {
    /// The tag and the answer that it stands for.
    pub(super) fn get(&self, key: &str) -> Option<(String, Bytes)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).answers.get(key).cloned()
    }

    pub(super) fn put(&self, key: &str, tag: &str, body: &Bytes) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if body.len() > LARGEST || tag.len() > 200 {
            return;
        }
        // A copy: `body` may be a slice of something larger.
        if kept.answers.insert(key.to_owned(), (tag.to_owned(), Bytes::copy_from_slice(body))).is_none() {
            kept.order.push_back(key.to_owned());
        }
        while kept.order.len() > MOST {
            if let Some(oldest) = kept.order.pop_front() {
                kept.answers.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_small() {
        let etags = Etags::default();
        for number in 0..1000 {
            etags.put(&format!("{}", number % 500), "\"x\"", &Bytes::from_static(b"{}"));
        }
        etags.put("large", "\"x\"", &Bytes::from(vec![0; LARGEST + 1]));
        let kept = etags.0.lock().unwrap();
        assert_eq!((kept.answers.len(), kept.order.len()), (MOST, MOST));
        assert!(!kept.answers.contains_key("large"));
    }
}
