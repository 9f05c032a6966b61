//! Commands found: those that are open, pages, and who brought a revision live.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kfops_core::Failure;
use kube::{ResourceExt as _, api::ListParams};

use super::{
    access::{all, escaped},
    ledger::ClusterLedger,
    record::{self, PULL_REQUEST, REPOSITORY, SEQ},
    resources::CommandObject,
};
use crate::{
    command::{Command, Repository},
    ports::{CommandPage, Filter, brought_live, settled},
};

/// Selects those that have not ended. One without a status has none of its fields.
pub(super) const OPEN: &str = "status.ended!=true";
/// Requests at once, where several answers are needed for one.
pub(super) const AT_ONCE: usize = 16;

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
}
