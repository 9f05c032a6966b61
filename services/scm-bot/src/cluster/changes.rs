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

use super::{ledger::ClusterLedger, listing::OPEN, resources::CommandObject};
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

#[cfg(test)]
mod tests {
    use kfops_core::TraceContext;

    use super::*;
    use crate::{
        cluster::record,
        command::{Origin, Repository},
        verb::Verb,
    };

    fn object(id: &str) -> CommandObject {
        let (on, now) = ((Repository::parse("o/r").unwrap(), 1), std::time::UNIX_EPOCH);
        let trace = TraceContext::from_random([1; 24]);
        record::object(&Command::new(id.into(), Verb::Run, on, "a".into(), Origin::Api, trace, now))
    }

    fn hears(open: &mut Open, event: Event<CommandObject>) -> Vec<String> {
        match open.hear(event) {
            Heard::Now(object) => vec![format!("now {}", object.name_any())],
            Heard::Read(mut ids) => {
                ids.sort();
                ids
            }
        }
    }

    #[test]
    fn what_ended_while_nobody_looked_is_read() {
        let mut open = Open::default();
        assert!(hears(&mut open, Event::Init).is_empty());
        for id in ["c-1", "c-2", "c-3"] {
            assert_eq!(hears(&mut open, Event::InitApply(object(id))), [format!("now {id}")]);
        }
        assert!(hears(&mut open, Event::InitDone).is_empty());
        assert_eq!(hears(&mut open, Event::Apply(object("c-4"))), ["now c-4"]);
        assert_eq!(hears(&mut open, Event::Delete(object("c-3"))), ["c-3"]);
        // The API server has forgotten where we were.
        assert!(hears(&mut open, Event::Init).is_empty());
        assert_eq!(hears(&mut open, Event::InitApply(object("c-2"))), ["now c-2"]);
        assert_eq!(hears(&mut open, Event::InitDone), ["c-1", "c-4"]);
        assert!(hears(&mut open, Event::Init).is_empty());
        assert_eq!(hears(&mut open, Event::InitDone), ["c-2"]);
    }
}
