//! Locks of targets. Who holds one is in the target's object, whether that still counts is in the command's: a holder that has
//! its outcome, or is gone, holds nothing, whether or not anybody has tidied up behind it.

use std::{
    sync::PoisonError,
    time::{Duration, SystemTime},
};

use kfops_core::{Failure, Reason, short_hash};
use kube::{
    ResourceExt as _,
    api::{ListParams, PostParams},
};

use super::{
    access::{all, ask, changed, exists, failed, failed_kind, gone, put_status},
    commands::{TRIES, unknown},
    ledger::ClusterLedger,
    resources::{TargetObject, TargetSpec, TargetStatus},
    times::{millis, read, text},
};
use crate::{
    command::Command,
    ports::{Claim, Lock, settled},
};

/// Most commands of which it is remembered that they need no lock any more.
const REMEMBERED: usize = 10_000;

fn name(target: &str) -> String {
    format!("t-{}", short_hash(&[target], 40))
}

/// A target as it is kept.
struct Target {
    name: String,
    resource_version: String,
    status: TargetStatus,
}

impl Target {
    fn of(object: TargetObject) -> Self {
        let resource_version = object.resource_version().unwrap_or_default();
        Self { name: object.name_any(), resource_version, status: object.status.unwrap_or_default() }
    }
}

impl ClusterLedger {
    async fn target(&self, target: &str) -> Result<Option<Target>, Failure> {
        let name = name(target);
        match ask(self.0.targets.get(&name)).await {
            Ok(object) => Ok(Some(Target::of(object))),
            Err(error) if gone(&error) => Ok(None),
            Err(error) => Err(failed(&error, &format!("targets/{name}"))),
        }
    }

    async fn make_target(&self, target: &str) -> Result<Option<Target>, Failure> {
        let object = TargetObject::new(&name(target), TargetSpec { target: target.to_owned() });
        match ask(self.0.targets.create(&PostParams::default(), &object)).await {
            Ok(object) => Ok(Some(Target::of(object))),
            Err(error) if exists(&error) => Ok(None),
            Err(error) if gone(&error) => Err(failed_kind::<TargetObject>(&error)),
            Err(error) => Err(failed(&error, &format!("targets/{}", name(target)))),
        }
    }

    /// False when it was changed meanwhile.
    async fn put_target(&self, target: &Target) -> Result<bool, Failure> {
        match put_status(&self.0.targets, &target.name, &target.resource_version, &target.status).await {
            Ok(_) => Ok(true),
            Err(error) if changed(&error) || gone(&error) => Ok(false),
            Err(error) => Err(failed(&error, &format!("targets/{}", target.name))),
        }
    }

    /// Whether a command is there and needs its locks. That it needs none is for ever.
    async fn counts(&self, id: &str) -> Result<bool, Failure> {
        let known = |ids: &std::sync::Mutex<std::collections::HashSet<String>>| {
            ids.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
        };
        if known(&self.0.settled) {
            return Ok(false);
        }
        match self.fetch(id).await? {
            Some(kept) if !settled(&kept.command) => Ok(true),
            Some(_) => {
                let mut ids = self.0.settled.lock().unwrap_or_else(PoisonError::into_inner);
                if ids.len() >= REMEMBERED {
                    ids.clear();
                }
                ids.insert(id.to_owned());
                Ok(false)
            }
            None => Ok(false),
        }
    }

    pub(super) async fn ask_for(&self, target: &str, id: &str, now: SystemTime) -> Result<Claim, Failure> {
        // Those of this process need not get into each other's way.
        let _one = self.0.claims.lock().await;
        for attempt in 0..TRIES {
            pause(attempt).await;
            let kept = self.fetch(id).await?.ok_or_else(|| unknown(id))?;
            // A former leader asks for nothing.
            self.0.term.after(kept.term, &format!("commands/{id}"))?;
            let command = kept.command;
            if settled(&command) {
                let name = format!("commands/{id}");
                let message = format!("{name} has its outcome already, it gets no lock of {target}");
                return Err(Failure::new(Reason::InvalidArgument, message).on(name));
            }
            let found = match self.target(target).await? {
                Some(found) => Some(found),
                None => self.make_target(target).await?,
            };
            let Some(mut found) = found else { continue };
            let before = found.status.clone();
            let claim = self.given(&mut found.status, id, now).await?;
            if found.status == before || self.put_target(&found).await? {
                return Ok(claim);
            }
        }
        Err(busy(target))
    }

    /// What a command gets, and the lock as it is then.
    async fn given(&self, lock: &mut TargetStatus, id: &str, now: SystemTime) -> Result<Claim, Failure> {
        let fence = |lock: &TargetStatus| u64::try_from(lock.fence).unwrap_or(0);
        if lock.holder.as_deref() == Some(id) {
            return Ok(Claim::Held(fence(lock)));
        }
        if !lock.queue.iter().any(|waiting| waiting == id) {
            lock.queue.push(id.to_owned());
        }
        if let Some(holder) = &lock.holder
            && !self.counts(holder).await?
        {
            lock.holder = None;
        }
        if lock.holder.is_none() {
            while lock.queue.first().is_some_and(|first| first != id) && !self.counts(&lock.queue[0]).await? {
                lock.queue.remove(0);
            }
            if lock.queue.first().is_some_and(|first| first == id) {
                lock.queue.remove(0);
                // A ledger that was lost or restored knows less than serving-deployer; the time is ahead of all that was given.
                lock.fence = lock.fence.saturating_add(1).max(millis(now));
                (lock.holder, lock.since) = (Some(id.to_owned()), Some(text(now)));
                return Ok(Claim::Held(fence(lock)));
            }
        }
        let before = lock.queue.iter().position(|waiting| waiting == id).unwrap_or_default();
        // While nobody holds it, the first in line is the one that is waited for.
        Ok(match &lock.holder {
            Some(holder) => Claim::Waiting { holder: holder.clone(), ahead: before },
            None => Claim::Waiting { holder: lock.queue[0].clone(), ahead: before.saturating_sub(1) },
        })
    }

    pub(super) async fn take_from(&self, target: &str, holder: &str, now: SystemTime) -> Result<bool, Failure> {
        let _one = self.0.claims.lock().await;
        self.0.term.after(0, target)?;
        for attempt in 0..TRIES {
            pause(attempt).await;
            let Some(mut found) = self.target(target).await? else { return Ok(false) };
            if found.status.holder.as_deref() != Some(holder) || !self.counts(holder).await? {
                return Ok(false);
            }
            (found.status.holder, found.status.since) = (None, Some(text(now)));
            found.status.queue.retain(|waiting| waiting != holder);
            if self.put_target(&found).await? {
                return Ok(true);
            }
        }
        Err(busy(target))
    }

    async fn targets(&self) -> Result<Vec<TargetObject>, Failure> {
        let api = &self.0.targets;
        let page = |piece| async move { api.list(&piece).await };
        all::<TargetObject, _, _, _>(&ListParams::default(), page, Some).await
    }

    /// Every lock that was ever given, without those that count no more.
    pub(super) async fn all_locks(&self) -> Result<Vec<Lock>, Failure> {
        let targets = self.targets().await?;
        let named = targets.iter().filter_map(|target| target.status.as_ref());
        let mut ids: Vec<_> = named.flat_map(|status| status.holder.iter().chain(&status.queue)).cloned().collect();
        ids.sort();
        ids.dedup();
        let counting = self.unsettled(ids).await?;
        let counts = |id: &String| counting.contains(id);
        let lock = |object: TargetObject| {
            let made = object.creation_timestamp().map(|made| SystemTime::from(made.0));
            let status = object.status.filter(|status| status.fence > 0)?;
            Some(Lock {
                target: object.spec.target,
                holder: status.holder.filter(&counts),
                fence: u64::try_from(status.fence).unwrap_or(0),
                since: status.since.as_deref().and_then(read).or(made).unwrap_or(SystemTime::UNIX_EPOCH),
                queue: status.queue.into_iter().filter(&counts).collect(),
            })
        };
        let mut locks: Vec<_> = targets.into_iter().filter_map(lock).collect();
        locks.sort_by(|a, b| a.target.cmp(&b.target));
        Ok(locks)
    }

    /// Shows that a command which has its outcome holds nothing and waits for nothing any more. Nothing depends on it.
    pub(super) async fn tidy_up(&self, command: &Command) {
        if command.verb.environment().is_none() {
            return;
        }
        let _one = self.0.claims.lock().await;
        if let Err(failure) = self.leave_all(command).await {
            tracing::debug!(command = command.id, %failure, "its locks were not tidied up");
        }
    }

    async fn leave_all(&self, command: &Command) -> Result<(), Failure> {
        for object in self.targets().await? {
            let mut target = Target::of(object);
            for attempt in 0..TRIES {
                pause(attempt).await;
                let lock = &mut target.status;
                let held = lock.holder.as_ref() == Some(&command.id);
                let waited = lock.queue.contains(&command.id);
                if !held && !waited {
                    break;
                }
                if held {
                    (lock.holder, lock.since) = (None, Some(text(command.updated)));
                }
                lock.queue.retain(|waiting| *waiting != command.id);
                if self.put_target(&target).await? {
                    break;
                }
                match ask(self.0.targets.get(&target.name)).await {
                    Ok(object) => target = Target::of(object),
                    Err(error) => return Err(failed(&error, &format!("targets/{}", target.name))),
                }
            }
        }
        Ok(())
    }

    /// As `tidy_up`, for all that are settled or gone: before commands are forgotten, whose ids may come again.
    pub(super) async fn tidy_all(&self, now: SystemTime) -> Result<(), Failure> {
        let _one = self.0.claims.lock().await;
        for object in self.targets().await? {
            let mut target = Target::of(object);
            let before = target.status.clone();
            let mut queue = Vec::new();
            for id in std::mem::take(&mut target.status.queue) {
                if self.counts(&id).await? {
                    queue.push(id);
                }
            }
            target.status.queue = queue;
            if let Some(holder) = &target.status.holder
                && !self.counts(holder).await?
            {
                (target.status.holder, target.status.since) = (None, Some(text(now)));
            }
            if target.status != before && !self.put_target(&target).await? {
                return Err(busy(&target.name));
            }
        }
        Ok(())
    }
}

/// Before another try: not at once, and not all at the same time.
async fn pause(attempt: usize) {
    if attempt > 0 {
        let most = 2_u64.pow(u32::try_from(attempt.min(8)).unwrap_or(8));
        tokio::time::sleep(Duration::from_millis(rand::random_range(1..=most))).await;
    }
}

fn busy(target: &str) -> Failure {
    Failure::new(Reason::ClusterUnavailable, format!("the lock of {target} is changed by others all the time"))
        .on(target)
}
