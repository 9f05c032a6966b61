//! The time during which a process drives: a number that grows from leader to leader.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use kfops_core::{Failure, Reason};

/// The term of this process, shared by the election and the ledger. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Term(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// 0: it has not been elected.
    number: AtomicI64,
    over: AtomicBool,
}

impl Term {
    pub(super) fn begin(&self, number: i64) {
        self.0.number.store(number, Ordering::SeqCst);
    }

    pub(super) fn end(&self) {
        self.0.over.store(true, Ordering::SeqCst);
    }

    /// The term under which something that was last written under `stored` may be written now.
    pub(super) fn after(&self, stored: i64, resource: &str) -> Result<i64, Failure> {
        let own = self.0.number.load(Ordering::SeqCst);
        if self.0.over.load(Ordering::SeqCst) || (own > 0 && stored > own) {
            return Err(Failure::new(
                Reason::StoreUnavailable,
                format!("{resource} is driven by another replica of scm-bot by now"),
            )
            .on(resource));
        }
        Ok(own.max(stored))
    }
}
