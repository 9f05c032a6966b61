//! Takes deliveries in: stored durably with what they start, then acted on. The same way for a webhook that came and for
//! one that was found missing.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use kfops_core::{Failure, Reason, TraceContext, short_hash};

use crate::{
    command::{Command, Origin},
    delivery::{self, Comment, Event, Press},
    engine::Engine,
    grammar::Line,
    ports::{Accepted, Button, Delivery, Entropy, Meter},
    push::Push,
    verb::Verb,
};

/// A webhook as it was signed.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// `X-GitHub-Delivery`.
    pub delivery: String,
    /// `X-GitHub-Event`.
    pub event: String,
    /// The body.
    pub payload: Bytes,
    /// When it came.
    pub received: SystemTime,
    /// Proposed root span of the first command.
    pub trace: Option<TraceContext>,
}

impl Webhook {
    fn kept(self, payload: Bytes) -> Delivery {
        Delivery { id: self.delivery, event: self.event, payload, received: self.received }
    }
}

/// A delivery that was found missing.
struct Missing {
    /// How late it is, if too late.
    late: Option<Duration>,
}

/// Less than GitHub's clock shows.
const TICK: Duration = Duration::from_millis(1);

/// What became of a webhook.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// Ids of the commands that it started.
    pub commands: Vec<String>,
    /// It was taken before.
    pub duplicate: bool,
}

/// Takes deliveries in. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Intake {
    pub(crate) engine: Arc<Engine>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

impl Intake {
    /// Returns once the webhook and its commands are stored durably; the commands are then under way.
    pub(crate) async fn take(&self, webhook: Webhook) -> Result<Taken, Failure> {
        self.take_as(webhook, None).await
    }

    /// As `take`, for one that was found missing. With `late`, what it asks for comes too late and is refused: the person
    /// is told to ask again.
    pub(crate) async fn take_missing(&self, webhook: Webhook, late: Option<Duration>) -> Result<Taken, Failure> {
        self.take_as(webhook, Some(Missing { late })).await
    }

    async fn take_as(&self, webhook: Webhook, missing: Option<Missing>) -> Result<Taken, Failure> {
        if !(1..=200).contains(&webhook.delivery.len()) {
            return Err(Failure::new(Reason::InvalidArgument, "it has 1 to 200 characters").on("delivery_id"));
        }
        let bot = self.engine.settings.github.bot_login.as_deref().unwrap_or_default();
        let Some(event) = delivery::read(&webhook.event, &webhook.payload, bot)? else {
            tracing::debug!(event = webhook.event, delivery = webhook.delivery, "of no interest");
            return Ok(Taken::default());
        };
        let ignored = event.repository().is_some_and(|repository| !self.engine.settings.github.allows(repository));
        if let Some(repository) = event.repository().filter(|_| ignored) {
            tracing::warn!(%repository, event = webhook.event, delivery = webhook.delivery, "ignored: github.allow lacks it");
        }
        let mut commands = match event {
            _ if ignored => Vec::new(),
            Event::Nothing => Vec::new(),
            Event::Comment(comment) if missing.is_some() && !self.still_says(&comment).await? => Vec::new(),
            Event::Comment(comment) => self.commands_of(comment, &webhook, missing.is_some()),
            Event::Moved { repository, pull_request, before, head, at } => {
                let push = Push { repository, pull_request, before, head, at: at.unwrap_or(webhook.received) };
                let new = self.engine.pushed(webhook.kept(Bytes::new()), push).await?;
                return Ok(Taken { commands: Vec::new(), duplicate: !new });
            }
            Event::Pressed(press) => self.command_of(press, &webhook).await?.into_iter().collect(),
        };
        if let Some(Missing { late: Some(late) }) = missing {
            for command in &mut commands {
                command.unreadable.get_or_insert_with(|| too_late(late));
                command.quiet = true;
            }
        }
        // What started nothing is remembered by its GUID alone.
        let payload = if commands.is_empty() { Bytes::new() } else { webhook.payload.clone() };
        let delivery = webhook.kept(payload);
        // A duplicate started nothing: it lists nothing, so that nobody hangs a span below a root that is not there.
        let new = match self.engine.ledger.accept(delivery, commands).await? {
            Accepted::New(new) => new,
            Accepted::Duplicate => return Ok(Taken { commands: Vec::new(), duplicate: true }),
        };
        let commands = new.iter().map(|command| command.id.clone()).collect();
        for command in new {
            tracing::info!(command = command.id, verb = command.verb.as_str(), actor = command.actor, trace_id = %command.trace.trace_id, "received");
            self.engine.admit(command);
        }
        Ok(Taken { commands, duplicate: false })
    }

    pub(crate) fn trace(&self) -> TraceContext {
        TraceContext::from_random(self.entropy.trace())
    }

    /// Whether a comment that comes late still stands as it was written: who deleted or changed it meanwhile has seen
    /// that nothing happened.
    async fn still_says(&self, comment: &Comment) -> Result<bool, Failure> {
        let now = self.engine.github.comment(&Meter::default(), &comment.repository, comment.id).await?;
        let same = now.as_ref() == Some(&comment.body);
        if !same {
            let (comment, deleted) = (comment.id, now.is_none());
            tracing::info!(comment, deleted, "a comment was taken back before it arrived; it starts nothing");
        }
        Ok(same)
    }

    /// The commands of a comment. The first takes the proposed root span; the others get one of their own, with a link.
    fn commands_of(&self, comment: Comment, webhook: &Webhook, missing: bool) -> Vec<Command> {
        let written = comment.written.unwrap_or(webhook.received);
        // GitHub tells seconds. In that of a push, who came here first was first; but one that was missing may have been
        // written before it.
        let written = if missing { written.checked_sub(TICK).unwrap_or(written) } else { written };
        let first = webhook.trace.unwrap_or_else(|| self.trace());
        let lines = comment.lines.into_iter().enumerate();
        let mut answered = false;
        lines
            .map(|(index, line)| {
                let verb = match &line {
                    Line::Command { verb, .. } | Line::Unclosed { verb } | Line::TooMany { verb, .. } => *verb,
                    Line::Typo { .. } => Verb::Help,
                };
                let id = Command::id_of_comment(&comment.repository, comment.id, index);
                let origin = Origin::Comment { delivery: webhook.delivery.clone(), comment: comment.id, index };
                let on = (comment.repository.clone(), comment.pull_request);
                let trace = if index == 0 { first } else { self.trace() };
                let mut command =
                    Command::new(id, verb, on, comment.actor.clone(), origin, trace, webhook.received).reading(line);
                command.written = Some(written);
                if index > 0 {
                    command.links.push(first);
                }
                command.quiet = answered || command.unreadable.is_some();
                answered |= !command.quiet;
                command
            })
            .collect()
    }

    /// The command of a button: about the command whose check run it stands on, in that one's pull request.
    async fn command_of(&self, press: Press, webhook: &Webhook) -> Result<Option<Command>, Failure> {
        let other = match self.engine.ledger.get(&press.command).await {
            Ok(other) => other,
            Err(failure) if failure.reason == Reason::NotFound => return Ok(None),
            Err(failure) => return Err(failure),
        };
        if other.repository != press.repository {
            return Ok(None);
        }
        let verb = match press.button {
            Button::Retry => Verb::Retry,
            Button::Cancel => Verb::Cancel,
        };
        let id = format!("c-{}", short_hash(&[&press.repository.to_string(), "button", &webhook.delivery], 10));
        let origin = Origin::Button { delivery: webhook.delivery.clone(), check: press.check };
        let trace = webhook.trace.unwrap_or_else(|| self.trace());
        let on = (other.repository.clone(), other.pull_request);
        let line = Line::Command { verb, arguments: vec![press.command] };
        Ok(Some(Command::new(id, verb, on, press.actor, origin, trace, webhook.received).reading(line)))
    }
}

/// What was right to ask for may not be any more.
fn too_late(late: Duration) -> Failure {
    let late = humantime::format_duration(Duration::from_secs(late.as_secs() / 60 * 60));
    Failure::new(Reason::PolicyRefused, format!("this reached Kfops {late} late, and things may have changed since"))
        .action("if it is still wanted, write it again")
}
