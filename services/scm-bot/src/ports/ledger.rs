//! What is remembered.

use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use kfops_core::Failure;

use crate::{
    command::{Command, Repository},
    push::Push,
    step::{Stage, StepState},
};

/// How many of the commands that deployed to a target are never forgotten.
pub const DEPLOYED_KEPT: u16 = 20;

/// Whether a command needs no lock any more: how it ends is known.
#[must_use]
pub const fn settled(command: &Command) -> bool {
    command.outcome.is_some() || command.state.ended()
}

/// Target and revision that a command brought live, whatever came of the command. A retry that found the rollout done
/// did not bring it live.
#[must_use]
pub fn brought_live(command: &Command) -> Option<(&str, &str)> {
    let lineage = &command.lineage;
    let done =
        command.step(Stage::Rollout).is_some_and(|step| step.state == StepState::Succeeded && step.end.is_some());
    (done && !lineage.inference_service.is_empty() && !lineage.revision.is_empty())
        .then_some((lineage.inference_service.as_str(), lineage.revision.as_str()))
}

/// A delivery to be kept with its commands.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// `X-GitHub-Delivery`.
    pub id: String,
    /// `X-GitHub-Event`.
    pub event: String,
    /// As signed.
    pub payload: Bytes,
    /// When it came.
    pub received: SystemTime,
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq)]
pub enum Accepted {
    /// These commands are new.
    New(Vec<Command>),
    /// It, or its comment, was accepted before.
    Duplicate,
}

/// What became of a command from the API.
#[derive(Debug, Clone, PartialEq)]
pub enum Created {
    /// It is new.
    New(Command),
    /// It was there.
    Existing(Command),
}

/// Which commands a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only of this repository.
    pub repository: Option<Repository>,
    /// Only of this pull request.
    pub pull_request: Option<u64>,
}

/// One page of commands, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandPage {
    /// The commands.
    pub commands: Vec<Command>,
    /// Empty on the last page.
    pub next_page_token: String,
}

/// What a command that asked for a lock got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It holds the lock under this fence; asked again, the same.
    Held(u64),
    /// Others hold it or came before.
    Waiting {
        /// Id of the command that holds the lock, or of the first in the queue while nobody does.
        holder: String,
        /// How many others wait before this one.
        ahead: usize,
    },
}

/// The lock of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// `namespaces/…/inferenceServices/…`.
    pub target: String,
    /// Id of the command that holds it; None: nobody does.
    pub holder: Option<String>,
    /// Grows each time the lock is given, and also over what a lost ledger gave.
    pub fence: u64,
    /// When it was given or freed.
    pub since: SystemTime,
    /// Ids of those that wait, the next one first.
    pub queue: Vec<String>,
}

/// What compaction removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Deliveries.
    pub deliveries: usize,
    /// Commands.
    pub commands: usize,
}

/// What is remembered. A change is durable once its call returns.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// Keeps a delivery and its commands, all or nothing. One without commands is new the first time. A command that was
    /// written before the newest push that is known is superseded from the beginning.
    async fn accept(&self, delivery: Delivery, commands: Vec<Command>) -> Result<Accepted, Failure>;
    /// Keeps a delivery that tells of a push, the push if it is the newest of its pull request, and in the open commands
    /// what it means for them (`Command::overtaken`), all or nothing: those that changed, as stored. None: it was accepted
    /// before.
    async fn accept_push(
        &self,
        delivery: Delivery,
        push: Push,
        now: SystemTime,
    ) -> Result<Option<Vec<Command>>, Failure>;
    /// Keeps a command from the API.
    async fn create(&self, command: Command) -> Result<Created, Failure>;
    /// The command as it stands.
    async fn get(&self, id: &str) -> Result<Command, Failure>;
    /// Newest first.
    async fn list(&self, filter: Filter, page_size: i32, page_token: &str) -> Result<CommandPage, Failure>;
    /// Those that have not ended, oldest first.
    async fn open(&self) -> Result<Vec<Command>, Failure>;
    /// Their ids alone, which costs less.
    async fn open_ids(&self) -> Result<Vec<String>, Failure> {
        Ok(self.open().await?.into_iter().map(|command| command.id).collect())
    }
    /// Those of one pull request.
    async fn open_of(&self, repository: &Repository, pull_request: u64) -> Result<Vec<Command>, Failure> {
        let mut open = self.open().await?;
        open.retain(|command| command.repository == *repository && command.pull_request == pull_request);
        Ok(open)
    }
    /// Whether deliveries with these GUIDs were accepted: those that were not, in the same order.
    async fn missing(&self, deliveries: &[String]) -> Result<Vec<String>, Failure>;
    /// Asks for the lock of a target, or joins its queue; asked again, it keeps its place. The first in the queue gets a
    /// free lock, and not before it asks. A command that is unknown, or whose outcome is known, gets a failure and nothing
    /// else.
    async fn claim(&self, target: &str, command: &str, now: SystemTime) -> Result<Claim, Failure>;
    /// Takes the lock from a command, if that one still holds it, so that nobody works under its fence any more. The others
    /// keep their places; should that command ask again, it joins the end of the queue, and what it gets is a new fence.
    /// Whether it was held.
    async fn seize(&self, target: &str, holder: &str, now: SystemTime) -> Result<bool, Failure>;
    /// Every lock that was ever given.
    async fn locks(&self) -> Result<Vec<Lock>, Failure>;
    /// The command that brought a revision of a target live, newest first if there are several.
    async fn deployed(&self, target: &str, revision: &str) -> Result<Option<Command>, Failure>;
    /// The newest command that brought a revision of a target live: its repository is the one that the target belongs to.
    async fn deployer(&self, target: &str) -> Result<Option<Command>, Failure>;
    /// Forgets deliveries received and pushes made before one time, and commands that ended before another, but never a command whose
    /// model may still be live: the last 20 that deployed to each target. Locks and their fences stay.
    async fn compact(&self, deliveries: SystemTime, commands: SystemTime) -> Result<Compacted, Failure>;
    /// Gives space back: drops the payloads of deliveries received before a time whose commands have all ended (they still
    /// count as accepted), and whatever else the store can do. How many payloads.
    async fn shrink(&self, _payloads: SystemTime) -> Result<usize, Failure> {
        Ok(0)
    }
    /// When the ledger began: it knows nothing of what was before. One that is as old as can be knows everything.
    async fn born(&self) -> Result<SystemTime, Failure> {
        Ok(SystemTime::UNIX_EPOCH)
    }
    /// Replaces the command if nobody changed it since it was read; None if somebody did. Once a command has an
    /// outcome its locks and places in queues are free, in the same transaction.
    async fn update(&self, command: Command) -> Result<Option<Command>, Failure>;
    /// Marks a command as driven by this process from now on: what another one, which drove it before, still writes is
    /// refused. Also compares it with the newest push, if it has not begun. None if somebody changed it since it was read.
    async fn adopt(&self, command: Command) -> Result<Option<Command>, Failure> {
        Ok(Some(command))
    }
    /// Commands that changed, by whomever, as they are stored: each in its newest state at least, in any case once what
    /// happened can be seen again. None: nobody but this process writes.
    fn changes(&self) -> Option<BoxStream<'static, Command>> {
        None
    }
}
