//! Commands: read, found, created once, replaced by those who have seen the newest state.

use std::{collections::BTreeMap, sync::PoisonError};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kfops_core::{Failure, Reason, ResourceId};
use kube::{
    ResourceExt as _,
    api::{ListParams, PostParams},
};

use super::{
    access::{all, ask, changed, escaped, exists, failed, failed_kind, gone, put_status},
    ledger::{ClusterLedger, Seen},
    record::{self, Kept, PULL_REQUEST, REPOSITORY, SEQ},
    resources::CommandObject,
};
use crate::{
    command::{Command, Repository},
    ports::{CommandPage, Filter, brought_live, settled},
};

/// Selects those that have not ended. One without a status has none of its fields.
pub(super) const OPEN: &str = "status.ended!=true";
/// How often a change is tried anew because an object was changed meanwhile.
pub(super) const TRIES: usize = 20;
/// Requests at once, where several answers are needed for one.
pub(super) const AT_ONCE: usize = 16;
/// Most commands of which it is remembered how they were seen last.
const REMEMBERED: usize = 50_000;

pub(super) fn unknown(id: &str) -> Failure {
    let name = format!("commands/{id}");
    Failure::new(Reason::NotFound, format!("no {name}")).on(name)
}

/// By place in time, and by id where two replicas took the same.
pub(super) fn place(command: &Command) -> (i64, String) {
    (command.seq, command.id.clone())
}

/// Selects the commands of a repository, of a pull request, or both.
fn of(repository: Option<&Repository>, pull_request: Option<u64>) -> ListParams {
    let repository = repository.map(|repository| format!("{REPOSITORY}={}", record::repository_label(repository)));
    let pull_request = pull_request.map(|number| format!("{PULL_REQUEST}={number}"));
    let labels: Vec<_> = repository.into_iter().chain(pull_request).collect();
    if labels.is_empty() { ListParams::default() } else { ListParams::default().labels(&labels.join(",")) }
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

    /// Those that have not ended, in order.
    pub(super) async fn open_where(&self, params: ListParams) -> Result<Vec<Command>, Failure> {
        let api = &self.0.commands;
        let keep = |object| Some(self.kept(object)).filter(|kept| kept.readable).map(|kept| kept.command);
        let params = params.fields(OPEN);
        let mut open =
            all::<CommandObject, _, _, _>(&params, |piece| async move { api.list(&piece).await }, keep).await?;
        open.sort_by_cached_key(place);
        Ok(open)
    }

    pub(super) async fn open_in(&self, repository: &Repository, pull_request: u64) -> Result<Vec<Command>, Failure> {
        self.open_where(of(Some(repository), Some(pull_request))).await
    }

    /// Places and ids, from metadata alone.
    async fn places(&self, params: &ListParams) -> Result<Vec<(i64, String)>, Failure> {
        let api = &self.0.commands;
        let page = |piece| async move { api.list_metadata(&piece).await };
        all::<CommandObject, _, _, _>(params, page, |meta| {
            let seq = meta.annotations().get(SEQ).and_then(|seq| seq.parse().ok());
            Some((seq.unwrap_or_default(), meta.name_any()))
        })
        .await
    }

    pub(super) async fn open_places(&self) -> Result<Vec<String>, Failure> {
        let mut open = self.places(&ListParams::default().fields(OPEN)).await?;
        open.sort();
        Ok(open.into_iter().map(|(_, id)| id).collect())
    }

    /// One page. Which commands it shows is read off the metadata of all; only those are then read as a whole.
    pub(super) async fn page(
        &self,
        filter: Filter,
        size: usize,
        before: Option<(i64, String)>,
    ) -> Result<CommandPage, Failure> {
        let params = of(filter.repository.as_ref(), filter.pull_request);
        let earlier = |place: &(i64, String)| before.as_ref().is_none_or(|before| place < before);
        let narrow = filter.repository.is_some() && filter.pull_request.is_some();
        let (mut commands, more) = if narrow {
            let api = &self.0.commands;
            let page = |piece| async move { api.list(&piece).await };
            let mut all =
                all::<CommandObject, _, _, _>(&params, page, |object| Some(self.kept(object).command)).await?;
            all.retain(|command| earlier(&place(command)));
            all.sort_by_cached_key(|command| std::cmp::Reverse(place(command)));
            let more = all.len() > size;
            all.truncate(size);
            (all, more)
        } else {
            let mut places = self.places(&params).await?;
            places.retain(earlier);
            places.sort_by(|a, b| b.cmp(a));
            let more = places.len() > size;
            places.truncate(size);
            (self.read_all(places.into_iter().map(|(_, id)| id).collect()).await?, more)
        };
        commands.sort_by_cached_key(|command| std::cmp::Reverse(place(command)));
        let last = commands.last().filter(|_| more);
        let next_page_token = last.map(|last| format!("{}.{}", last.seq, last.id)).unwrap_or_default();
        Ok(CommandPage { commands, next_page_token })
    }

    /// Those of these ids that are still there.
    pub(super) async fn read_all(&self, ids: Vec<String>) -> Result<Vec<Command>, Failure> {
        let read = stream::iter(ids).map(|id| async move { self.fetch(&id).await }).buffer_unordered(AT_ONCE);
        read.try_filter_map(|kept| async move { Ok(kept.map(|kept| kept.command)) }).try_collect().await
    }

    /// Those of these ids that are there and not settled.
    pub(super) async fn unsettled(&self, ids: Vec<String>) -> Result<Vec<String>, Failure> {
        let read = self.read_all(ids).await?;
        Ok(read.into_iter().filter(|command| !settled(command)).map(|command| command.id).collect())
    }

    /// The newest command that brought a revision of a target live; of a certain revision, or of any.
    pub(super) async fn newest_of(&self, target: &str, revision: Option<&str>) -> Result<Option<Command>, Failure> {
        let params = ListParams::default().fields(&format!("status.live={}", escaped(target)));
        let api = &self.0.commands;
        let keep = |object| {
            let command = self.kept(object).command;
            let right = brought_live(&command)
                .is_some_and(|(on, what)| on == target && revision.is_none_or(|revision| revision == what));
            right.then_some(command)
        };
        let found = all::<CommandObject, _, _, _>(&params, |piece| async move { api.list(&piece).await }, keep).await?;
        Ok(found.into_iter().max_by_key(place))
    }

    /// Ids of commands by target that they brought live, newest first, with everything else that compaction asks for.
    pub(super) async fn old(&self) -> Result<Vec<Old>, Failure> {
        let api = &self.0.commands;
        let keep = |object: CommandObject| {
            let uid = object.uid();
            let Kept { command, resource_version, .. } = record::kept(object);
            Some(Old {
                place: place(&command),
                uid,
                resource_version,
                ended: command.state.ended().then(|| command.ended.unwrap_or(command.updated)),
                live: brought_live(&command).map(|(target, _)| target.to_owned()),
            })
        };
        let page = |piece| async move { api.list(&piece).await };
        let mut old = all::<CommandObject, _, _, _>(&ListParams::default(), page, keep).await?;
        old.sort_by(|a, b| b.place.cmp(&a.place));
        Ok(old)
    }
}

/// What compaction asks of a command.
pub(super) struct Old {
    pub(super) place: (i64, String),
    pub(super) uid: Option<String>,
    pub(super) resource_version: String,
    /// None: it has not.
    pub(super) ended: Option<std::time::SystemTime>,
    pub(super) live: Option<String>,
}

impl Old {
    /// Those that nobody needs: ended before a time, and not among the newest that deployed to a target.
    pub(super) fn forgettable(all: Vec<Self>, before: u64, kept: usize) -> Vec<Self> {
        let mut deployed: BTreeMap<String, usize> = BTreeMap::new();
        let mut gone = all;
        gone.retain(|old| {
            let among = old.live.as_ref().is_some_and(|target| {
                let count = deployed.entry(target.clone()).or_default();
                *count += 1;
                *count <= kept
            });
            !among && old.ended.is_some_and(|ended| super::times::seconds(ended) < before)
        });
        gone
    }
}

pub(super) fn busy(id: &str) -> Failure {
    let name = format!("commands/{id}");
    Failure::new(Reason::ClusterUnavailable, format!("{name} is changed by others all the time")).on(name)
}
