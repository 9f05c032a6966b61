//! Keeps the live comment and the check run as they should stand, with few writes.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::{Duration, SystemTime},
};

use kfops_core::{Failure, Reason};

use super::{Driver, Flow};
use crate::{
    command::State,
    engine::passing,
    report::{check_run, comment, marker},
};

/// A command that takes no longer than this makes do with few requests.
const SHORT: Duration = Duration::from_secs(60);
/// By how much GitHub's clock may differ from ours.
const CLOCK_SKEW: Duration = Duration::from_secs(15 * 60);

/// What is remembered between two writes.
#[derive(Default)]
pub(super) struct Publisher {
    last_write: Option<SystemTime>,
    shown: u64,
    /// This process began to post the comment and knows how that went.
    comment_known: bool,
    /// The same for the check run.
    check_known: bool,
}

impl Driver {
    /// Shows how far the command is, if that is due. GitHub being away is no reason to stop working.
    pub(super) async fn publish_progress(&mut self) -> Result<(), Failure> {
        if !self.due() {
            return Ok(());
        }
        let written = match self.write_comment().await {
            Ok(()) if self.command.posted.check.is_none() && self.command.started.is_some() => self.write_check().await,
            written => written,
        };
        self.count();
        match written {
            Err(failure) if failure.reason == Reason::StoreUnavailable => Err(failure),
            Err(failure) => {
                tracing::info!(command = self.command.id, %failure, "progress not shown");
                self.publisher.last_write = Some(self.engine.clock.now());
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn due(&self) -> bool {
        let command = &self.command;
        if command.verb.only_reads() || command.outcome.is_some() {
            return false;
        }
        let Some(last) = self.publisher.last_write else { return true };
        if self.publisher.shown == self.fingerprint() {
            return false;
        }
        let now = self.engine.clock.now();
        let age = now.duration_since(command.received).unwrap_or_default();
        let passed = now.duration_since(last).unwrap_or_default();
        let interval = self.engine.settings.github.write_interval.get();
        if age >= SHORT {
            // Long commands change seldom enough to be shown less often.
            return passed >= interval.max(age / 20).min(Duration::from_secs(30));
        }
        // What is still to come is kept free: the last word; for a deploy also merge and labels.
        let (budget, reserve) = if command.verb.environment().is_some() { (12, 6) } else { (8, 2) };
        passed >= interval * 3 && command.github_calls + 1 + reserve <= budget
    }

    /// What a reader would notice.
    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for step in &self.command.steps {
            (&step.title, step.state.done(), step.start.is_some(), &step.message).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// The last word. Tried until GitHub hears it, or patience is over.
    pub(super) async fn report(&mut self) -> Result<Flow, Failure> {
        let said = self.last_word().await;
        self.count();
        let now = self.engine.clock.now();
        match said {
            Err(failure) if passing(&failure) && self.patient(now) => return Ok(self.pause().await),
            Err(failure) => tracing::warn!(command = self.command.id, %failure, "the last word was not heard"),
            Ok(()) => {}
        }
        self.trouble = None;
        self.command.posted.finished = true;
        self.engine.save(&mut self.command).await?;
        Ok(Flow::On)
    }

    async fn last_word(&mut self) -> Result<(), Failure> {
        if self.wants_check() {
            self.write_check().await?;
        }
        if let Some(last) = self.publisher.last_write {
            let interval = self.engine.settings.github.write_interval.get();
            let passed = self.engine.clock.now().duration_since(last).unwrap_or(interval);
            tokio::time::sleep(interval.saturating_sub(passed)).await;
        }
        self.write_comment().await
    }

    /// Strangers get no check run on a commit.
    fn wants_check(&self) -> bool {
        use Reason as R;
        let command = &self.command;
        if command.verb.only_reads() || command.pull.is_none() || command.unreadable.is_some() {
            return false;
        }
        let rule = command.failure.as_ref().map(|failure| failure.reason);
        let fork = command.pull.as_ref().is_some_and(|pull| pull.fork);
        let stranger = matches!(rule, Some(R::PermissionDenied | R::PullRequestClosed | R::NotFound));
        command.started.is_some() || (command.outcome == Some(State::Refused) && !stranger && !fork)
    }

    async fn write_comment(&mut self) -> Result<(), Failure> {
        let engine = Arc::clone(&self.engine);
        let repository = self.command.repository.clone();
        let on = (&repository, self.command.pull_request);
        let mark = marker(&self.command);
        // GitHub's clock is not ours.
        let since = self.command.received.checked_sub(CLOCK_SKEW).unwrap_or(self.command.received);
        if self.command.posted.comment.is_none()
            && self.command.posted.comment_intended
            && !self.publisher.comment_known
        {
            let found = engine.github.find_comment(&self.meter, on, &mark, since).await?;
            self.command.posted.comment = found;
            self.publisher.comment_known = true;
        }
        self.publisher.shown = self.fingerprint();
        if self.command.posted.comment.is_none() {
            self.command.posted.comment_intended = true;
            engine.save(&mut self.command).await?;
            self.publisher.comment_known = false;
            let body = comment(&self.command, engine.clock.now(), engine.settings.public_url.as_deref());
            let id = match engine.github.post_comment(&self.meter, on, &body).await {
                Ok(id) => id,
                Err(failure) => {
                    self.publisher.comment_known = !passing(&failure);
                    return Err(failure);
                }
            };
            self.publisher.comment_known = true;
            self.publisher.last_write = Some(engine.clock.now());
            self.command.posted.comment = Some(id);
            self.count();
            return engine.save(&mut self.command).await;
        }
        let Some(id) = self.command.posted.comment else { return Ok(()) };
        let body = comment(&self.command, engine.clock.now(), engine.settings.public_url.as_deref());
        let edited = engine.github.edit_comment(&self.meter, &repository, id, &body).await;
        self.publisher.last_write = Some(engine.clock.now());
        match edited {
            Err(failure) if failure.reason == Reason::NotFound => {
                // Someone deleted it: the last word is said in a new one.
                self.command.posted.comment = None;
                self.publisher.comment_known = true;
                if self.command.outcome.is_some() { Box::pin(self.write_comment()).await } else { Err(failure) }
            }
            edited => edited,
        }
    }

    async fn write_check(&mut self) -> Result<(), Failure> {
        let engine = Arc::clone(&self.engine);
        let repository = self.command.repository.clone();
        let check = check_run(&self.command, engine.clock.now(), engine.settings.public_url.as_deref());
        if self.command.posted.check.is_none() && self.command.posted.check_intended && !self.publisher.check_known {
            self.command.posted.check = engine.github.find_check(&self.meter, &repository, &check).await?;
            self.publisher.check_known = true;
        }
        if let Some(id) = self.command.posted.check {
            return engine.github.edit_check(&self.meter, &repository, id, &check).await;
        }
        self.command.posted.check_intended = true;
        engine.save(&mut self.command).await?;
        self.publisher.check_known = false;
        match engine.github.post_check(&self.meter, &repository, &check).await {
            Ok(id) => {
                self.publisher.check_known = true;
                self.command.posted.check = Some(id);
                self.count();
                engine.save(&mut self.command).await
            }
            Err(failure) => {
                self.publisher.check_known = !passing(&failure);
                Err(failure)
            }
        }
    }
}
