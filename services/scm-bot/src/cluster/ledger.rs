//! The ledger in custom resources: the port's calls as requests to the API server.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::SystemTime,
};

use async_trait::async_trait;
use futures::{StreamExt as _, stream::BoxStream};
use kfops_core::{Clock, Failure, Reason};
use kube::{Api, Client, api::ListParams};

use super::{
    record::Kept,
    resources::{CommandObject, DeliveryObject, PushObject, TargetObject},
    sequence::Sequence,
    term::Term,
};
use crate::{
    command::{Command, Repository},
    ports::{Accepted, Claim, CommandPage, Compacted, Created, Delivery, Filter, Ledger, Lock, settled},
    push::Push,
};

/// The ledger in custom resources of one namespace. Cheap to clone. Several processes may have the same.
#[derive(Clone)]
pub struct ClusterLedger(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) commands: Api<CommandObject>,
    pub(super) deliveries: Api<DeliveryObject>,
    pub(super) targets: Api<TargetObject>,
    pub(super) pushes: Api<PushObject>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) term: Term,
    pub(super) sequence: Sequence,
    /// How open commands were seen last, so that a change costs one request.
    pub(super) seen: Mutex<HashMap<String, Seen>>,
    /// Commands that need no lock any more.
    pub(super) settled: Mutex<HashSet<String>>,
    /// Whoever changes a lock in this process.
    pub(super) claims: tokio::sync::Mutex<()>,
}

/// How an object was seen.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) version: i64,
    pub(super) resource_version: String,
    pub(super) term: i64,
}

impl Seen {
    pub(super) fn of(kept: &Kept) -> Self {
        Self { version: kept.command.version, resource_version: kept.resource_version.clone(), term: kept.term }
    }
}

impl ClusterLedger {
    /// The ledger in the client's default namespace. Asks nothing yet.
    #[must_use]
    pub fn new(client: &Client, clock: Arc<dyn Clock>, term: Term) -> Self {
        Self(Arc::new(Inner {
            commands: Api::default_namespaced(client.clone()),
            deliveries: Api::default_namespaced(client.clone()),
            targets: Api::default_namespaced(client.clone()),
            pushes: Api::default_namespaced(client.clone()),
            clock,
            term,
            sequence: Sequence::default(),
            seen: Mutex::default(),
            settled: Mutex::default(),
            claims: tokio::sync::Mutex::default(),
        }))
    }
}

fn wrong(field: &str, message: &str) -> Failure {
    Failure::new(Reason::InvalidArgument, format!("{field} {message}")).on(field)
}

#[async_trait]
impl Ledger for ClusterLedger {
    async fn accept(&self, delivery: Delivery, commands: Vec<Command>) -> Result<Accepted, Failure> {
        self.take(&delivery, commands).await
    }

    async fn accept_push(
        &self,
        delivery: Delivery,
        push: Push,
        now: SystemTime,
    ) -> Result<Option<Vec<Command>>, Failure> {
        self.take_push(&delivery, &push, now).await
    }

    async fn create(&self, command: Command) -> Result<Created, Failure> {
        self.make(command).await
    }

    async fn get(&self, id: &str) -> Result<Command, Failure> {
        Ok(self.find(id).await?.command)
    }

    async fn list(&self, filter: Filter, page_size: i32, page_token: &str) -> Result<CommandPage, Failure> {
        let size = match page_size {
            0 => 50,
            1.. => usize::try_from(page_size.min(1000)).unwrap_or(50),
            _ => return Err(wrong("page_size", "must not be negative")),
        };
        let place = |token: &str| {
            let (seq, id) = token.split_once('.')?;
            Some((seq.parse().ok()?, id.to_owned()))
        };
        let before = match page_token {
            "" => None,
            token => Some(place(token).ok_or_else(|| wrong("page_token", "is not one that a list gave out"))?),
        };
        self.page(filter, size, before).await
    }

    async fn open(&self) -> Result<Vec<Command>, Failure> {
        self.open_where(ListParams::default()).await
    }

    async fn open_ids(&self) -> Result<Vec<String>, Failure> {
        self.open_places().await
    }

    async fn open_of(&self, repository: &Repository, pull_request: u64) -> Result<Vec<Command>, Failure> {
        self.open_in(repository, pull_request).await
    }

    async fn missing(&self, deliveries: &[String]) -> Result<Vec<String>, Failure> {
        self.not_taken(deliveries).await
    }

    async fn claim(&self, target: &str, command: &str, now: SystemTime) -> Result<Claim, Failure> {
        self.ask_for(target, command, now).await
    }

    async fn seize(&self, target: &str, holder: &str, now: SystemTime) -> Result<bool, Failure> {
        self.take_from(target, holder, now).await
    }

    async fn locks(&self) -> Result<Vec<Lock>, Failure> {
        self.all_locks().await
    }

    async fn deployed(&self, target: &str, revision: &str) -> Result<Option<Command>, Failure> {
        self.newest_of(target, Some(revision)).await
    }

    async fn deployer(&self, target: &str) -> Result<Option<Command>, Failure> {
        self.newest_of(target, None).await
    }

    async fn compact(&self, deliveries: SystemTime, commands: SystemTime) -> Result<Compacted, Failure> {
        self.forget_old(deliveries, commands).await
    }

    async fn born(&self) -> Result<SystemTime, Failure> {
        self.birth().await
    }

    async fn update(&self, command: Command) -> Result<Option<Command>, Failure> {
        let updated = self.replace(command).await?;
        if let Some(command) = updated.as_ref().filter(|command| settled(command)) {
            self.tidy_up(command).await;
        }
        Ok(updated)
    }

    async fn adopt(&self, command: Command) -> Result<Option<Command>, Failure> {
        self.take_over(command).await
    }

    fn changes(&self) -> Option<BoxStream<'static, Command>> {
        Some(self.watch_open().boxed())
    }
}
