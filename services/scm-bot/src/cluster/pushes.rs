//! The newest push of each pull request. It is written before the open commands are told, and read after a command was
//! created or is taken over: whichever was first, one of the two sees the other.

use std::time::SystemTime;

use kfops_core::{Failure, Reason, short_hash};
use kube::{
    ResourceExt as _,
    api::{ListParams, PostParams},
};

use super::{
    access::{all, ask, changed, exists, failed, failed_kind, gone},
    commands::TRIES,
    ledger::ClusterLedger,
    resources::{PushObject, PushSpec},
    times::{read, text},
};
use crate::{
    command::{Command, Repository},
    ports::Delivery,
    push::Push,
};

/// The newest push that is known.
pub(super) struct Newest {
    pub(super) head: String,
    pub(super) at: SystemTime,
    resource_version: Option<String>,
}

/// A push to be forgotten.
pub(super) struct OldPush {
    pub(super) name: String,
    pub(super) uid: Option<String>,
    pub(super) resource_version: Option<String>,
}

fn name(repository: &Repository, pull_request: u64) -> String {
    let hash = short_hash(&[&repository.to_string().to_ascii_lowercase(), &pull_request.to_string()], 40);
    format!("p-{hash}")
}

impl ClusterLedger {
    pub(super) async fn newest(&self, repository: &Repository, pull_request: u64) -> Result<Option<Newest>, Failure> {
        let name = name(repository, pull_request);
        let object = match ask(self.0.pushes.get(&name)).await {
            Ok(object) => object,
            Err(error) if gone(&error) => return Ok(None),
            Err(error) => return Err(failed(&error, &format!("pushes/{name}"))),
        };
        let resource_version = object.resource_version();
        let at = read(&object.spec.at).ok_or_else(|| {
            Failure::new(Reason::Internal, format!("pushes/{name} cannot be read")).on(format!("pushes/{name}"))
        })?;
        Ok(Some(Newest { head: object.spec.head, at, resource_version }))
    }

    /// Keeps a push if it is the newest; the head after the newest.
    async fn note_push(&self, push: &Push) -> Result<String, Failure> {
        let name = name(&push.repository, push.pull_request);
        let spec = PushSpec {
            repository: push.repository.to_string(),
            pull_request: i64::try_from(push.pull_request).unwrap_or(i64::MAX),
            head: push.head.clone(),
            at: text(push.at),
        };
        let mut object = PushObject::new(&name, spec);
        for _ in 0..TRIES {
            let known = self.newest(&push.repository, push.pull_request).await?;
            let written = match known {
                Some(known) if !push.follows(&known.head, known.at) => return Ok(known.head),
                Some(known) => {
                    object.metadata.resource_version = known.resource_version;
                    ask(self.0.pushes.replace(&name, &PostParams::default(), &object)).await
                }
                None => {
                    object.metadata.resource_version = None;
                    ask(self.0.pushes.create(&PostParams::default(), &object)).await
                }
            };
            match written {
                Ok(_) => return Ok(push.head.clone()),
                Err(error) if changed(&error) || exists(&error) => {}
                Err(error) if gone(&error) && object.metadata.resource_version.is_none() => {
                    return Err(failed_kind::<PushObject>(&error));
                }
                Err(error) if gone(&error) => {}
                Err(error) => return Err(failed(&error, &format!("pushes/{name}"))),
            }
        }
        let name = format!("pushes/{name}");
        Err(Failure::new(Reason::ClusterUnavailable, format!("{name} is changed by others all the time")).on(name))
    }

    /// Keeps a push, tells the open commands of its pull request, and notes last that the delivery was taken: one that is
    /// cut off is taken again, and does no more than was left to do.
    pub(super) async fn take_push(
        &self,
        delivery: &Delivery,
        push: &Push,
        now: SystemTime,
    ) -> Result<Option<Vec<Command>>, Failure> {
        if self.taken(&delivery.id).await? {
            return Ok(None);
        }
        let newest = self.note_push(push).await?;
        let mut told = Vec::new();
        for command in self.open_in(&push.repository, push.pull_request).await? {
            let overtaken = |command: &mut Command| {
                let overtaken = command.overtaken(push, &newest, delivery.received);
                if overtaken {
                    command.updated = now;
                }
                overtaken
            };
            if overtaken(&mut command.clone()) {
                told.extend(self.change(&command.id, overtaken).await?);
            }
        }
        let new = self.note(delivery).await?;
        Ok((new || !told.is_empty()).then_some(told))
    }

    /// Those made before a time.
    pub(super) async fn old_pushes(&self, before: SystemTime) -> Result<Vec<OldPush>, Failure> {
        let api = &self.0.pushes;
        let keep = |object: PushObject| {
            let old = read(&object.spec.at).is_none_or(|at| at < before);
            let resource_version = object.resource_version();
            old.then(|| OldPush { name: object.name_any(), uid: object.uid(), resource_version })
        };
        let page = |piece| async move { api.list(&piece).await };
        all::<PushObject, _, _, _>(&ListParams::default(), page, keep).await
    }
}
