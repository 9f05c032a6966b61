//! What is remembered.

use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use kfops_core::Failure;

use crate::command::{Command, Repository};

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

/// What is remembered. A change is durable once its call returns.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// Keeps a delivery and its commands, all or nothing.
    async fn accept(&self, delivery: Delivery, commands: Vec<Command>) -> Result<Accepted, Failure>;
    /// Keeps a command from the API.
    async fn create(&self, command: Command) -> Result<Created, Failure>;
    /// The command as it stands.
    async fn get(&self, id: &str) -> Result<Command, Failure>;
    /// Newest first.
    async fn list(&self, filter: Filter, page_size: i32, page_token: &str) -> Result<CommandPage, Failure>;
    /// Those that have not ended, oldest first.
    async fn open(&self) -> Result<Vec<Command>, Failure>;
    /// Replaces the command if nobody changed it since it was read; None if somebody did.
    async fn update(&self, command: Command) -> Result<Option<Command>, Failure>;
}
