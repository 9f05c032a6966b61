//! Who holds the lock of a target, who waits for it; and that one waits.

use std::time::SystemTime;

use super::{
    escape::{code, text},
    words::span,
};
use crate::{delivery::login, gate::count, verb::Verb};

/// Most waiting commands that are named.
const NAMED: usize = 5;

/// A command that holds a lock or waits for it, as far as the reader may know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// Its id.
    pub id: String,
    /// None: it belongs to another repository, or is forgotten.
    pub known: Option<(Verb, String, u64)>,
}

/// The lock of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// e.g. `production`.
    pub environment: &'static str,
    /// Who holds it.
    pub holder: Option<Who>,
    /// When it was given or freed; None: it was never given.
    pub since: Option<SystemTime>,
    /// Who waits, the next one first.
    pub queue: Vec<Who>,
}

/// One line, Markdown.
#[must_use]
pub fn lock(held: &Held, now: SystemTime) -> String {
    let mut out = match &held.holder {
        Some(holder) => format!("held by {} for {}", who(holder), span(held.since, None, now)),
        None => "free".to_owned(),
    };
    if !held.queue.is_empty() {
        let named: Vec<String> = held.queue.iter().take(NAMED).map(who).collect();
        let more = held.queue.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let verb = if held.queue.len() == 1 { "waits" } else { "wait" };
        out += &format!("; {} {verb}: {}{more}", count(held.queue.len() as u64, "command"), named.join(", "));
    }
    out
}

fn who(who: &Who) -> String {
    let id = code(&who.id, 64);
    match &who.known {
        Some((verb, actor, number)) => {
            let actor = if login(actor) { format!("@\u{200b}{actor}") } else { text(actor, 80) };
            format!("/{} {id} of {actor} in #{number}", verb.as_str().replace('_', "\\_"))
        }
        None => format!("{id}, a command of another repository"),
    }
}

/// What a command says while it waits for the lock of its target, in the words of its step.
/// `merges`: both end in a merge, and the one that waits is not forced.
#[must_use]
pub fn waits_for_target(holder: &str, ahead: usize, merges: bool) -> String {
    let then = if merges { " and by its merge leaves this branch behind" } else { "" };
    format!("waits for {holder}, which deploys to the same place{then}; place {} in the queue", ahead + 1)
}

/// What a command says while it waits for earlier ones of its pull request.
#[must_use]
pub fn waits_for_turn(holder: &str) -> String {
    format!("waits for {holder}, which came before in this pull request")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn who_holds_and_who_waits() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let known = |id: &str, number| Who { id: id.into(), known: Some((Verb::StagingDeploy, "ann".into(), number)) };
        let mut held = Held { environment: "staging", holder: None, since: None, queue: Vec::new() };
        assert_eq!(lock(&held, at(9)), "free");
        held.holder = Some(known("c-1", 7));
        held.since = Some(at(10));
        held.queue = vec![Who { id: "c-2".into(), known: None }];
        assert_eq!(
            lock(&held, at(82)),
            "held by /staging\\_deploy `c-1` of @\u{200b}ann in #7 for 1 m 12 s; 1 command waits: `c-2`, a command of \
             another repository"
        );
        held.queue = (0..7).map(|n| known(&format!("c-{n}"), n)).collect();
        assert!(lock(&held, at(82)).contains("7 commands wait: ") && lock(&held, at(82)).ends_with(" and 2 more"));
    }
}
