//! A GitHub that misbehaves on request: rules for requests and webhooks, a clock that is wrong, merges that nobody
//! has computed yet.

mod admin;
mod gate;
mod rule;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use admin::router;
pub(crate) use gate::{Gate, Peer};
pub(crate) use rule::Seen;
pub use rule::{Fault, Pick, Requests, Status, WebhookFault, Webhooks};
use serde::Serialize;

/// A handle on what goes wrong in a forge. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    rules: Mutex<Rules>,
    shift: Arc<AtomicI64>,
    unknown_merges: AtomicBool,
    lazy_merges: AtomicBool,
    /// Base and head of the merges that were asked for.
    asked: Mutex<HashSet<(String, String)>>,
}

#[derive(Debug, Default)]
struct Rules {
    last: u64,
    requests: Vec<Armed<Requests, Fault>>,
    webhooks: Vec<Armed<Webhooks, WebhookFault>>,
}

/// A rule with what it has seen.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Armed<W, F> {
    id: u64,
    when: W,
    fault: F,
    matches: u64,
    hits: u64,
}

impl<W, F: Clone> Armed<W, F> {
    /// Counts a match, and tells whether it is hit.
    fn shoot(&mut self, pick: &Pick) -> Option<F> {
        self.matches += 1;
        let hit = self.matches > pick.skip
            && pick.times.is_none_or(|times| self.hits < times)
            && pick.chance.is_none_or(|chance| draw(pick.seed, self.matches) < chance);
        self.hits += u64::from(hit);
        hit.then(|| self.fault.clone())
    }
}

/// The nth number of a seed, from 0 to 1 (SplitMix64).
fn draw(seed: u64, number: u64) -> f64 {
    let mut z = seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    f64::from(u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

impl Faults {
    pub(crate) fn new(shift: Arc<AtomicI64>) -> Self {
        Self { inner: Arc::new(Inner { shift, ..Inner::default() }) }
    }

    fn rules(&self) -> std::sync::MutexGuard<'_, Rules> {
        self.inner.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has requests go wrong. The first rule that hits decides. Tells the rule's id.
    pub fn requests(&self, when: Requests, fault: Fault) -> u64 {
        let mut rules = self.rules();
        rules.last += 1;
        let id = rules.last;
        rules.requests.push(Armed { id, when, fault, matches: 0, hits: 0 });
        id
    }

    /// Has webhooks go wrong. Tells the rule's id.
    pub fn webhooks(&self, when: Webhooks, fault: WebhookFault) -> u64 {
        let mut rules = self.rules();
        rules.last += 1;
        let id = rules.last;
        rules.webhooks.push(Armed { id, when, fault, matches: 0, hits: 0 });
        id
    }

    /// How often a rule has hit.
    #[must_use]
    pub fn hits(&self, id: u64) -> u64 {
        let rules = self.rules();
        let request = rules.requests.iter().find(|rule| rule.id == id).map(|rule| rule.hits);
        request.or_else(|| rules.webhooks.iter().find(|rule| rule.id == id).map(|rule| rule.hits)).unwrap_or(0)
    }

    /// Ends one rule.
    pub fn remove(&self, id: u64) {
        let mut rules = self.rules();
        rules.requests.retain(|rule| rule.id != id);
        rules.webhooks.retain(|rule| rule.id != id);
    }

    /// Ends every rule, sets the clock right and computes merges again.
    pub fn clear(&self) {
        {
            let mut rules = self.rules();
            rules.requests.clear();
            rules.webhooks.clear();
        }
        self.shift_clock(0);
        self.hold_mergeable(false);
        self.compute_merges_when_asked(false);
    }

    /// Puts the forge's clock that many seconds ahead, or behind if negative: the `Date` header and every timestamp
    /// but those of git's commits.
    pub fn shift_clock(&self, seconds: i64) {
        self.inner.shift.store(seconds, Ordering::SeqCst);
    }

    /// Has `mergeable` be null, as on GitHub until it has computed the merge.
    pub fn hold_mergeable(&self, hold: bool) {
        self.inner.unknown_merges.store(hold, Ordering::SeqCst);
    }

    /// Has a merge be computed once somebody has looked, as on GitHub: after each push the first look at the pull
    /// request finds `mergeable` null, and the next one knows.
    pub fn compute_merges_when_asked(&self, lazy: bool) {
        self.inner.lazy_merges.store(lazy, Ordering::SeqCst);
        self.inner.asked.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether this look is the first one at a merge that nobody has computed.
    pub(crate) fn is_first_look(&self, base: &str, head: &str) -> bool {
        self.inner.lazy_merges.load(Ordering::SeqCst)
            && self
                .inner
                .asked
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert((base.to_owned(), head.to_owned()))
    }

    pub(crate) fn shift(&self) -> i64 {
        self.inner.shift.load(Ordering::SeqCst)
    }

    pub(crate) fn mergeable_held(&self) -> bool {
        self.inner.unknown_merges.load(Ordering::SeqCst)
    }

    /// Whether any rule reads GraphQL bodies.
    pub(crate) fn reads_graphql(&self) -> bool {
        self.rules().requests.iter().any(|rule| rule.when.graphql.is_some())
    }

    pub(crate) fn of_request(&self, request: &Seen<'_>) -> Option<Fault> {
        let mut rules = self.rules();
        rules.requests.iter_mut().filter(|rule| rule.when.fits(request)).find_map(|rule| {
            let pick = rule.when.pick.clone();
            rule.shoot(&pick)
        })
    }

    pub(crate) fn of_webhook(&self, event: &str, action: Option<&str>, redelivery: bool) -> Option<WebhookFault> {
        let mut rules = self.rules();
        rules.webhooks.iter_mut().filter(|rule| rule.when.fits(event, action, redelivery)).find_map(|rule| {
            let pick = rule.when.pick.clone();
            rule.shoot(&pick)
        })
    }

    fn describe(&self) -> serde_json::Value {
        let rules = self.rules();
        serde_json::json!({
            "requests": rules.requests,
            "webhooks": rules.webhooks,
            "clock_shift_seconds": self.shift(),
            "hold_mergeable": self.mergeable_held(),
            "compute_merges_when_asked": self.inner.lazy_merges.load(Ordering::SeqCst),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_match_is_hit_and_a_seed_repeats() {
        let hits = |pick: Pick| -> Vec<bool> {
            let faults = Faults::default();
            faults.requests(Requests::of("GET", "/x").pick(pick), Fault::Lost);
            let seen = Seen { method: "GET", path: "/x", graphql: None };
            (0..8).map(|_| faults.of_request(&seen).is_some()).collect()
        };
        assert_eq!(hits(Pick::nth(3)), [false, false, true, false, false, false, false, false]);
        assert_eq!(hits(Pick { times: Some(2), ..Pick::default() })[..4], [true, true, false, false]);
        assert_eq!(hits(Pick::chance(0.5, 7)), hits(Pick::chance(0.5, 7)));
        assert_ne!(hits(Pick::chance(0.5, 7)), hits(Pick::chance(0.5, 8)));
        assert!(!hits(Pick::chance(0.0, 7)).contains(&true));
    }
}
