//! Judges a canary step: errors and latency of the new revision against the live one, over the step's window.

use std::{collections::BTreeMap, time::Duration};

/// Differences below this are noise, whatever they are in percent.
const LATENCY_NOISE_MS: f64 = 10.0;

/// What a router has counted for a revision since some moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counters {
    /// Answered requests, and those that got no answer.
    pub requests: u64,
    /// 5xx, timeouts and connections that failed.
    pub errors: u64,
    /// Answered requests by their latency: upper bound in microseconds -> how many.
    pub latencies: BTreeMap<u64, u64>,
}

impl Counters {
    /// What was counted since `base`. Counters that went backwards were started anew: then all of it.
    #[must_use]
    pub fn since(&self, base: &Self) -> Self {
        if self.requests < base.requests || self.errors < base.errors {
            return self.clone();
        }
        let mut latencies = self.latencies.clone();
        for (bound, count) in &base.latencies {
            if let Some(now) = latencies.get_mut(bound) {
                *now = now.saturating_sub(*count);
            }
        }
        latencies.retain(|_, count| *count > 0);
        Self { requests: self.requests - base.requests, errors: self.errors - base.errors, latencies }
    }

    /// 99th percentile in milliseconds; None without data.
    #[must_use]
    pub fn p99_ms(&self) -> Option<f64> {
        let total: u64 = self.latencies.values().sum();
        let rank = total - total / 100;
        let mut seen = 0;
        self.latencies.iter().find_map(|(bound, count)| {
            seen += count;
            #[expect(clippy::cast_precision_loss, reason = "latencies are far below 2^52 microseconds")]
            (*count > 0 && seen >= rank).then(|| *bound as f64 / 1000.0)
        })
    }
}

/// What a step demands.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// How long to watch at least.
    pub hold: Duration,
    /// A step that cannot be judged by then fails.
    pub timeout: Duration,
    /// Share of failed requests, 0 to 1.
    pub max_error_rate: f64,
    /// p99 over the live revision's; 0: not judged.
    pub max_p99_increase: f64,
    /// Fewer requests hold the step.
    pub min_requests: u64,
}

/// What was seen in the window.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Window {
    /// Since the shares are in force.
    pub elapsed: Duration,
    /// The new revision.
    pub new: Counters,
    /// How many of its requests were Kfops' own: the sample and the golden requests.
    pub own: u64,
    /// The live revision.
    pub live: Counters,
    /// The first golden request that was answered wrongly.
    pub mismatch: Option<String>,
}

/// The gate's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Watch on.
    Hold,
    /// The next step may begin.
    Pass,
    /// Undo the rollout, for this reason.
    Fail(String),
}

/// Judges. Too few requests hold; they never pass.
#[must_use]
pub fn judge(rules: &Rules, window: &Window) -> Verdict {
    if let Some(mismatch) = &window.mismatch {
        return Verdict::Fail(mismatch.clone());
    }
    let (requests, errors) = (window.new.requests, window.new.errors);
    let enough = requests >= rules.min_requests.max(1);
    #[expect(clippy::cast_precision_loss, reason = "a share; counts are far below 2^52")]
    let rate = errors as f64 / requests.max(1) as f64;
    // Requests that the live revision cannot answer either are no fault of the new one.
    #[expect(clippy::cast_precision_loss, reason = "a share; counts are far below 2^52")]
    let live_rate = window.live.errors as f64 / window.live.requests.max(1) as f64;
    if enough && rate > rules.max_error_rate + live_rate {
        return Verdict::Fail(format!(
            "{errors} of {requests} requests failed ({:.1} %, allowed {:.1} % over the live revision's {:.1} %)",
            rate * 100.0,
            rules.max_error_rate * 100.0,
            live_rate * 100.0
        ));
    }
    if window.elapsed < rules.hold {
        return Verdict::Hold;
    }
    let late = window.elapsed >= rules.timeout;
    let hold_or = |text: String| if late { Verdict::Fail(text) } else { Verdict::Hold };
    if !enough {
        return hold_or(format!(
            "too little data: {requests} of {} requests within {}",
            rules.min_requests.max(1),
            seconds(rules.timeout)
        ));
    }
    if rules.max_p99_increase > 0.0 {
        let (Some(new), Some(live)) = (window.new.p99_ms(), window.live.p99_ms()) else {
            return hold_or(format!("no latency to compare with within {}", seconds(rules.timeout)));
        };
        if new > live * (1.0 + rules.max_p99_increase) && new - live > LATENCY_NOISE_MS {
            return Verdict::Fail(format!(
                "p99 latency {new:.0} ms, live {live:.0} ms (allowed {:.0} % more)",
                rules.max_p99_increase * 100.0
            ));
        }
    }
    Verdict::Pass
}

/// `412 requests (6 of users, 406 of Kfops' own), 0 errors, p99 38 ms (live: 41 ms)`.
#[must_use]
pub fn describe(window: &Window) -> String {
    let plural = |n: u64, word: &str| if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") };
    let requests = window.new.requests;
    // A router that was started again has forgotten some of ours.
    let own = window.own.min(requests);
    let mut text = plural(requests, "request");
    if own > 0 {
        text += &format!(" ({} of users, {own} of Kfops' own)", requests - own);
    }
    text += &format!(", {}", plural(window.new.errors, "error"));
    if let Some(p99) = window.new.p99_ms() {
        text += &format!(", p99 {p99:.0} ms");
        if let Some(live) = window.live.p99_ms() {
            text += &format!(" (live: {live:.0} ms)");
        }
    }
    text
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(requests: u64, errors: u64, ms: u64) -> Counters {
        Counters { requests, errors, latencies: BTreeMap::from([(ms * 1000, requests)]) }
    }

    fn rules() -> Rules {
        Rules {
            hold: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
            max_error_rate: 0.01,
            max_p99_increase: 0.25,
            min_requests: 100,
        }
    }

    fn window(elapsed: u64, new: Counters, live: Counters) -> Window {
        Window { elapsed: Duration::from_secs(elapsed), new, own: 0, live, mismatch: None }
    }

    #[test]
    fn passes_when_it_has_seen_enough_for_long_enough() {
        let good = |elapsed| judge(&rules(), &window(elapsed, counters(200, 2, 40), counters(500, 0, 41)));
        assert_eq!(good(9), Verdict::Hold);
        assert_eq!(good(10), Verdict::Pass);
    }

    #[test]
    fn requests_that_the_live_revision_fails_too_are_not_held_against_the_new_one() {
        let both = window(10, counters(200, 40, 40), counters(1000, 210, 40));
        assert_eq!(judge(&rules(), &both), Verdict::Pass);
        let worse = window(10, counters(200, 60, 40), counters(1000, 210, 40));
        assert!(matches!(judge(&rules(), &worse), Verdict::Fail(_)));
    }

    #[test]
    fn too_little_data_holds_and_then_fails() {
        let few = |elapsed| judge(&rules(), &window(elapsed, counters(3, 0, 1), counters(500, 0, 1)));
        assert_eq!(few(59), Verdict::Hold);
        assert_eq!(few(60), Verdict::Fail("too little data: 3 of 100 requests within 60 s".into()));
    }

    #[test]
    fn errors_fail_before_the_hold_is_over() {
        let verdict = judge(&rules(), &window(1, counters(200, 3, 1), counters(500, 0, 1)));
        assert_eq!(
            verdict,
            Verdict::Fail("3 of 200 requests failed (1.5 %, allowed 1.0 % over the live revision's 0.0 %)".into())
        );
    }

    #[test]
    fn latency_is_judged_against_the_live_revision() {
        let slow = |new, live| judge(&rules(), &window(10, counters(200, 0, new), counters(200, 0, live)));
        assert!(matches!(slow(80, 40), Verdict::Fail(_)));
        assert_eq!(slow(48, 40), Verdict::Pass);
        assert_eq!(slow(4, 1), Verdict::Pass, "a few milliseconds are noise");
    }

    #[test]
    fn p99_needs_something_to_compare_with() {
        let alone = |elapsed| judge(&rules(), &window(elapsed, counters(200, 0, 1), Counters::default()));
        assert_eq!(alone(10), Verdict::Hold);
        assert!(matches!(alone(60), Verdict::Fail(_)));
        let unjudged = Rules { max_p99_increase: 0.0, ..rules() };
        assert_eq!(judge(&unjudged, &window(10, counters(200, 0, 1), Counters::default())), Verdict::Pass);
    }

    #[test]
    fn requests_of_users_and_our_own_are_said_apart() {
        let of = |own| describe(&Window { own, ..window(10, counters(50, 0, 3), counters(200, 0, 4)) });
        assert_eq!(of(44), "50 requests (6 of users, 44 of Kfops' own), 0 errors, p99 3 ms (live: 4 ms)");
        assert_eq!(of(0), "50 requests, 0 errors, p99 3 ms (live: 4 ms)");
        assert!(of(70).starts_with("50 requests (0 of users, 50 of"), "a router that was started again");
    }

    #[test]
    fn counters_are_taken_over_the_window() {
        let (base, now) = (counters(100, 5, 3), Counters { requests: 300, errors: 6, ..counters(300, 0, 3) });
        assert_eq!(now.since(&base), Counters { errors: 1, ..counters(200, 0, 3) });
        assert_eq!(base.since(&now), base, "a router that was started again counts from 0");
    }

    #[test]
    fn the_percentile_is_the_99th() {
        let of = |slow: u64| Counters {
            latencies: BTreeMap::from([(1_000, 100 - slow), (500_000, slow)]),
            ..Counters::default()
        };
        assert_eq!(of(1).p99_ms(), Some(1.0));
        assert_eq!(of(2).p99_ms(), Some(500.0));
        assert_eq!(Counters::default().p99_ms(), None);
    }
}
