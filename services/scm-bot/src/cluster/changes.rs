//! What others write, told as it happens. Only open commands are watched; one that leaves them is read once more.

use std::collections::HashSet;

use futures::{Stream, StreamExt as _, stream};
use kfops_core::Failure;
use kube::{
    ResourceExt as _,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event},
    },
};

use super::{commands::OPEN, ledger::ClusterLedger, resources::CommandObject};
use crate::command::Command;

/// What is known of the open commands.
#[derive(Default)]
struct Open {
    ids: HashSet<String>,
    /// Those that a list, which is under way, has shown so far.
    listed: Option<HashSet<String>>,
}

/// What an event asks for.
enum Heard {
    /// It is as it says.
    Now(Box<CommandObject>),
    /// These are to be read.
    Read(Vec<String>),
}

impl Open {
    fn hear(&mut self, event: Event<CommandObject>) -> Heard {
        match event {
            Event::Init => {
                self.listed = Some(HashSet::new());
                Heard::Read(Vec::new())
            }
            Event::InitApply(object) => {
                self.listed.get_or_insert_default().insert(object.name_any());
                Heard::Now(Box::new(object))
            }
            Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                // They ended while nobody looked.
                let left = self.ids.difference(&listed).cloned().collect();
                self.ids = listed;
                Heard::Read(left)
            }
            Event::Apply(object) => {
                self.ids.insert(object.name_any());
                Heard::Now(Box::new(object))
            }
            // It is shown as it was before it left.
            Event::Delete(object) => {
                let id = object.name_any();
                self.ids.remove(&id);
                Heard::Read(vec![id])
            }
        }
    }
}

impl ClusterLedger {
    /// Ends never; what cannot be seen for a while is told later.
    pub(super) fn watch_open(&self) -> impl Stream<Item = Command> + Send + 'static {
        let ledger = self.clone();
        // Errors are paced by the backoff.
        let events =
            watcher::watcher(self.0.commands.clone(), watcher::Config::default().fields(OPEN)).default_backoff();
        let (mut open, mut away) = (Open::default(), false);
        let heard = events.filter_map(move |event| {
            let heard = match event {
                Ok(event) => {
                    if std::mem::take(&mut away) {
                        tracing::info!("commands are watched again");
                    }
                    Some(open.hear(event))
                }
                Err(error) => {
                    if !std::mem::replace(&mut away, true) {
                        tracing::warn!(%error, "commands cannot be watched; tried again");
                    }
                    None
                }
            };
            async move { heard }
        });
        heard
            .then(move |heard| {
                let ledger = ledger.clone();
                async move {
                    match heard {
                        Heard::Now(object) => vec![ledger.kept(*object).command],
                        Heard::Read(ids) => ledger.read_surely(ids).await,
                    }
                }
            })
            .flat_map(stream::iter)
    }

    /// Those that are still there, however long it takes.
    async fn read_surely(&self, ids: Vec<String>) -> Vec<Command> {
        let mut pause = std::time::Duration::from_millis(200);
        loop {
            let read: Result<Vec<Command>, Failure> = self.read_all(ids.clone()).await;
            match read {
                Ok(read) => return read,
                Err(failure) => {
                    tracing::debug!(%failure, "commands that ended are read again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(std::time::Duration::from_secs(10));
                }
            }
        }
    }
}
