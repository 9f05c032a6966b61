//! Tells the driver of a rollout at once that someone cancels it; the record says it durably.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// A token for each rollout under way.
#[derive(Default)]
pub(crate) struct Cancels(Mutex<HashMap<String, CancellationToken>>);

impl Cancels {
    pub(crate) fn of(&self, id: &str) -> CancellationToken {
        self.lock().entry(id.to_owned()).or_default().clone()
    }

    pub(crate) fn cancel(&self, id: &str) {
        if let Some(token) = self.lock().get(id) {
            token.cancel();
        }
    }

    pub(crate) fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
