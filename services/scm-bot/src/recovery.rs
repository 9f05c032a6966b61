//! Finds deliveries that never arrived, from GitHub's own list of what it sent, and takes them in as if they had.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use kfops_core::{Failure, Reason};
use kfops_telemetry::metrics::RECOVERED;

use crate::{
    intake::{Intake, Webhook},
    ports::SentDelivery,
};

/// Most payloads that are fetched in one look.
const MOST: usize = 100;
/// How far a look reaches back behind what the last complete one saw: what GitHub lists late.
const OVERLAP: Duration = Duration::from_secs(600);
/// Until the next look, when there was more than one look may fetch.
const SOON: Duration = Duration::from_secs(10);

/// Looks until the service stops, first at once.
pub(crate) fn start(intake: &Intake) {
    let every = intake.engine.settings.recovery.every.get();
    if every.is_zero() {
        return;
    }
    let mut recovery = Recovery::new(intake.clone());
    let lifecycle = intake.engine.lifecycle.clone();
    let stopping = lifecycle.stopping();
    lifecycle.spawn(async move {
        stopping.run_until_cancelled(keep_looking(&mut recovery, every)).await;
    });
}

async fn keep_looking(recovery: &mut Recovery, every: Duration) {
    loop {
        let more = recovery.look().await == Looked::Partly;
        tokio::time::sleep(if more { every.min(SOON) } else { every }).await;
    }
}

/// What came of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looked {
    /// Nothing is missing any more.
    Completely,
    /// There was more than one look may fetch.
    Partly,
    /// GitHub or the ledger did not play along.
    Failed,
}

/// Whether GitHub shows what it sent; said once per change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listing {
    Works,
    Forbidden,
    Away,
}

/// Looks for deliveries that never arrived.
pub(crate) struct Recovery {
    intake: Intake,
    /// When GitHub sent the newest of what the last complete looks saw. By its clock alone: ours may be wrong, and jump.
    seen: Option<SystemTime>,
    /// GUIDs that were dealt with and that the ledger does not know: of no interest, or not to be had.
    dealt: HashSet<String>,
    listing: Listing,
}

impl Recovery {
    pub(crate) fn new(intake: Intake) -> Self {
        Self { intake, seen: None, dealt: HashSet::new(), listing: Listing::Works }
    }

    /// Once.
    pub(crate) async fn look(&mut self) -> Looked {
        let now = self.intake.engine.clock.now();
        match self.recover(now).await {
            Ok((true, newest)) => {
                self.seen = self.seen.max(newest);
                Looked::Completely
            }
            Ok((false, _)) => Looked::Partly,
            Err(failure) => {
                tracing::debug!(%failure, "deliveries were not looked through to the end");
                Looked::Failed
            }
        }
    }

    /// Whether everything was dealt with, and when the newest was sent.
    async fn recover(&mut self, now: SystemTime) -> Result<(bool, Option<SystemTime>), Failure> {
        let since = self.since(now).await?;
        let sent = self.intake.engine.github.deliveries(since).await;
        self.tell(&sent);
        let mut sent = sent?;
        let newest = sent.iter().map(|delivery| delivery.delivered).max();
        sent.retain(|delivery| of_interest(delivery) && delivery.delivered >= since);
        // Every push that is listed is known before the first comment is acted on: it may be about an older commit.
        sent.sort_by_key(|delivery| (delivery.event != "pull_request", delivery.delivered));
        let guids: Vec<_> = sent.iter().map(|delivery| delivery.guid.clone()).collect();
        self.dealt.retain(|guid| guids.contains(guid));
        let missing: HashSet<_> = self.intake.engine.ledger.missing(&guids).await?.into_iter().collect();
        sent.retain(|delivery| missing.contains(&delivery.guid) && !self.dealt.contains(&delivery.guid));
        let all = sent.len();
        for delivery in sent.iter().take(MOST) {
            match self.take(delivery, now).await {
                Ok(()) => {}
                // What comes after it must not overtake it.
                Err(failure) if failure.retryable => return Err(failure),
                Err(failure) => {
                    tracing::warn!(delivery = delivery.guid, event = delivery.event, %failure, "a missing delivery cannot be recovered");
                }
            }
            self.dealt.insert(delivery.guid.clone());
        }
        Ok((all <= MOST, newest))
    }

    async fn take(&self, delivery: &SentDelivery, now: SystemTime) -> Result<(), Failure> {
        let engine = &self.intake.engine;
        let payload = engine.github.delivery_payload(delivery).await?;
        let age = now.duration_since(delivery.delivered).unwrap_or_default();
        let late = (age > engine.settings.recovery.oldest_comment.get()).then_some(age);
        let webhook = Webhook {
            delivery: delivery.guid.clone(),
            event: delivery.event.clone(),
            payload,
            received: delivery.delivered,
            trace: None,
        };
        let taken = self.intake.take_missing(webhook, late).await?;
        metrics::counter!(RECOVERED).increment(1);
        tracing::info!(delivery = delivery.guid, event = delivery.event, commands = ?taken.commands, late = late.is_some(), "a delivery that never arrived was recovered");
        Ok(())
    }

    /// Nothing is looked for that the ledger may have forgotten, or that came before there was a ledger: it would be done
    /// again.
    async fn since(&self, now: SystemTime) -> Result<SystemTime, Failure> {
        let engine = &self.intake.engine;
        let born = engine.ledger.born().await?;
        let ago = |age: Duration| now.checked_sub(age).unwrap_or(UNIX_EPOCH);
        let since = match self.seen {
            Some(newest) => newest.checked_sub(OVERLAP).unwrap_or(UNIX_EPOCH),
            None => ago(engine.settings.recovery.window.get()),
        };
        Ok(since.max(ago(engine.settings.ledger.deliveries.get() / 2)).max(born))
    }

    /// Says when GitHub begins or ceases to show what it sent.
    fn tell(&mut self, sent: &Result<Vec<SentDelivery>, Failure>) {
        let listing = match sent {
            Ok(_) => Listing::Works,
            Err(failure) => match failure.reason {
                Reason::PermissionDenied | Reason::NotFound | Reason::Unauthenticated | Reason::InvalidArgument => {
                    Listing::Forbidden
                }
                _ => Listing::Away,
            },
        };
        if listing == self.listing {
            return;
        }
        self.listing = listing;
        match sent {
            Ok(_) => tracing::info!("GitHub shows again what it sent; deliveries that never arrived are looked for"),
            Err(failure) if listing == Listing::Forbidden => tracing::warn!(
                %failure,
                "GitHub does not show what it sent, so that comments are lost while Kfops is away: give scm-bot a GitHub App, \
                 or a token that may administer the webhook"
            ),
            Err(failure) => tracing::warn!(%failure, "deliveries that never arrived cannot be looked for; tried again"),
        }
    }
}

/// Whether it can start or end anything.
fn of_interest(delivery: &SentDelivery) -> bool {
    matches!(
        (delivery.event.as_str(), delivery.action.as_str()),
        ("issue_comment", "created")
            | ("pull_request", "synchronize")
            | ("check_run", "requested_action" | "rerequested")
    )
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
