//! Commands: read, created once, replaced by those who have seen the newest state.

use std::sync::PoisonError;

use kfops_core::{Failure, Reason, ResourceId};
use kube::api::PostParams;

use super::{
    access::{ask, changed, exists, failed, failed_kind, gone, put_status},
    ledger::{ClusterLedger, Seen},
    record::{self, Kept},
    resources::CommandObject,
};
use crate::command::Command;

/// How often a change is tried anew because an object was changed meanwhile.
pub(super) const TRIES: usize = 20;
/// Most commands of which it is remembered how they were seen last.
const REMEMBERED: usize = 50_000;

pub(super) fn unknown(id: &str) -> Failure {
    let name = format!("commands/{id}");
    Failure::new(Reason::NotFound, format!("no {name}")).on(name)
}

impl ClusterLedger {
    /// The command as it stands.
    pub(super) async fn fetch(&self, id: &str) -> Result<Option<Kept>, Failure> {
        if ResourceId::parse(id).is_err() {
            return Ok(None);
        }
        match ask(self.0.commands.get(id)).await {
            Ok(object) => Ok(Some(self.kept(object))),
            Err(error) if gone(&error) => Ok(None),
            Err(error) => Err(failed(&error, &format!("commands/{id}"))),
        }
    }

    pub(super) async fn find(&self, id: &str) -> Result<Kept, Failure> {
        self.fetch(id).await?.ok_or_else(|| unknown(id))
    }

    /// Reads an object, and remembers how it was seen.
    pub(super) fn kept(&self, object: CommandObject) -> Kept {
        let kept = record::kept(object);
        self.0.sequence.seen(kept.command.seq, self.0.clock.now());
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.command.state.ended() {
            seen.remove(&kept.command.id);
        } else if seen.get(&kept.command.id).is_none_or(|seen| seen.version <= kept.command.version) {
            if seen.len() >= REMEMBERED {
                seen.clear();
            }
            seen.insert(kept.command.id.clone(), Seen::of(&kept));
        }
        drop(seen);
        kept
    }

    fn seen(&self, id: &str) -> Option<Seen> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn forget(&self, id: &str) {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// Keeps a new command; None when there is one of that id.
    pub(super) async fn insert(&self, mut command: Command) -> Result<Option<Command>, Failure> {
        command.seq = self.0.sequence.next(self.0.clock.now());
        command.version = 1;
        let object = record::object(&command);
        // Before anything is there: a status that is too large later is refused then.
        record::status(&command, 0)?;
        match ask(self.0.commands.create(&PostParams::default(), &object)).await {
            Ok(object) => {
                let kept = self.kept(object);
                if kept.command != command {
                    // Something that the spec has no field for, or that the cluster's definition does not know yet.
                    self.put(&command, &Seen::of(&kept)).await?;
                }
                Ok(Some(command))
            }
            Err(error) if exists(&error) => Ok(None),
            Err(error) if gone(&error) => Err(failed_kind::<CommandObject>(&error)),
            Err(error) => Err(failed(&error, &format!("commands/{}", command.id))),
        }
    }

    /// Writes a command over what was seen of it; false when that is not the newest state.
    pub(super) async fn put(&self, command: &Command, seen: &Seen) -> Result<bool, Failure> {
        let name = format!("commands/{}", command.id);
        let term = self.0.term.after(seen.term, &name)?;
        let status = record::status(command, term)?;
        match put_status(&self.0.commands, &command.id, &seen.resource_version, &status).await {
            Ok(object) => {
                self.kept(object);
                Ok(true)
            }
            Err(error) if changed(&error) || gone(&error) => {
                self.forget(&command.id);
                Ok(false)
            }
            Err(error) => {
                // It may have been written.
                self.forget(&command.id);
                Err(failed(&error, &name))
            }
        }
    }

    /// Replaces a command in the version that its writer has seen.
    pub(super) async fn replace(&self, mut command: Command) -> Result<Option<Command>, Failure> {
        let version = command.version;
        command.version += 1;
        for _ in 0..TRIES {
            let seen = match self.seen(&command.id).filter(|seen| seen.version >= version) {
                Some(seen) => seen,
                None => match self.fetch(&command.id).await? {
                    Some(kept) => Seen::of(&kept),
                    None => return Ok(None),
                },
            };
            if seen.version != version {
                return Ok(None);
            }
            if self.put(&command, &seen).await? {
                return Ok(Some(command));
            }
            // Somebody else's version, or somebody's change of a label.
        }
        Err(busy(&command.id))
    }

    /// Changes a command that may be changed by others meanwhile; None when it is gone, or `change` wants nothing.
    pub(super) async fn change(
        &self,
        id: &str,
        change: impl Fn(&mut Command) -> bool,
    ) -> Result<Option<Command>, Failure> {
        for _ in 0..TRIES {
            let Some(mut kept) = self.fetch(id).await?.filter(|kept| kept.readable) else { return Ok(None) };
            let seen = Seen::of(&kept);
            if !change(&mut kept.command) {
                return Ok(None);
            }
            kept.command.version += 1;
            if self.put(&kept.command, &seen).await? {
                return Ok(Some(kept.command));
            }
        }
        Err(busy(id))
    }

    /// Takes a command over.
    pub(super) async fn take_over(&self, command: Command) -> Result<Option<Command>, Failure> {
        let kept = self.find(&command.id).await?;
        if kept.command.version != command.version {
            return Ok(None);
        }
        if !kept.readable {
            return Ok(Some(kept.command));
        }
        let seen = Seen::of(&kept);
        let term = self.0.term.after(seen.term, &format!("commands/{}", command.id))?;
        let mut command = kept.command;
        // A push that came while the command was written: whichever was first, one of the two sees the other.
        let waits = !command.begun() && command.outcome.is_none() && command.superseded_by.is_none();
        let overtaken = waits && command.written.is_some() && {
            let newest = self.newest(&command.repository, command.pull_request).await?;
            newest.is_some_and(|newest| command.written_before(&newest.head, newest.at))
        };
        if term == seen.term && !overtaken {
            return Ok(Some(command));
        }
        command.version += 1;
        Ok(self.put(&command, &seen).await?.then_some(command))
    }
}

pub(super) fn busy(id: &str) -> Failure {
    let name = format!("commands/{id}");
    Failure::new(Reason::ClusterUnavailable, format!("{name} is changed by others all the time")).on(name)
}
