//! What is forgotten. Each object only as it was looked at.

use std::{collections::HashMap, fmt::Debug, time::SystemTime};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use kfops_core::Failure;
use kube::{
    Api, Resource, ResourceExt as _,
    api::{DeleteParams, ListParams, Preconditions},
};
use serde::de::DeserializeOwned;

use super::{
    access::{all, ask, changed, failed, gone},
    ledger::ClusterLedger,
    listing::{AT_ONCE, place},
    record::{self, Kept},
    resources::CommandObject,
    times::seconds,
};
use crate::ports::{Compacted, DEPLOYED_KEPT, brought_live};

struct Doomed {
    name: String,
    uid: Option<String>,
    resource_version: Option<String>,
}

/// What compaction asks of a command.
struct Old {
    place: (i64, String),
    uid: Option<String>,
    resource_version: String,
    /// None: it has not.
    ended: Option<SystemTime>,
    live: Option<String>,
}

impl Old {
    /// Those that nobody needs: ended before a time, and not among the newest that deployed to a target.
    fn forgettable(all: Vec<Self>, before: u64, kept: usize) -> Vec<Self> {
        let mut deployed: HashMap<String, usize> = HashMap::new();
        let mut gone = all;
        gone.retain(|old| {
            let among = old.live.as_ref().is_some_and(|target| {
                let count = deployed.entry(target.clone()).or_default();
                *count += 1;
                *count <= kept
            });
            !among && old.ended.is_some_and(|ended| seconds(ended) < before)
        });
        gone
    }
}

impl ClusterLedger {
    /// All commands, newest first.
    async fn old(&self) -> Result<Vec<Old>, Failure> {
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

    pub(super) async fn forget_old(&self, deliveries: SystemTime, commands: SystemTime) -> Result<Compacted, Failure> {
        let pushes = self.old_pushes(deliveries).await?.into_iter();
        let pushes = pushes.map(|old| Doomed { name: old.name, uid: old.uid, resource_version: old.resource_version });
        delete(&self.0.pushes, pushes).await?;
        let old = self.old_deliveries(deliveries).await?.into_iter();
        let old = old.map(|name| Doomed { name, uid: None, resource_version: None });
        let deliveries = delete(&self.0.deliveries, old).await?;
        let old = Old::forgettable(self.old().await?, seconds(commands), usize::from(DEPLOYED_KEPT));
        if !old.is_empty() {
            self.tidy_all(self.0.clock.now()).await?;
        }
        let old = old.into_iter().map(|old| Doomed {
            name: old.place.1,
            uid: old.uid,
            resource_version: Some(old.resource_version),
        });
        let commands = delete(&self.0.commands, old).await?;
        Ok(Compacted { deliveries, commands })
    }
}

/// How many were there and as they had been seen.
async fn delete<K>(api: &Api<K>, doomed: impl Iterator<Item = Doomed>) -> Result<usize, Failure>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let one = |doomed: Doomed| async move {
        let preconditions = Preconditions { resource_version: doomed.resource_version, uid: doomed.uid };
        let parameters = DeleteParams::default().preconditions(preconditions);
        match ask(api.delete(&doomed.name, &parameters)).await {
            Ok(_) => Ok(1),
            Err(error) if gone(&error) || changed(&error) => Ok(0),
            Err(error) => Err(failed(&error, &format!("{}/{}", K::plural(&()), doomed.name))),
        }
    };
    let deleted = stream::iter(doomed).map(one).buffer_unordered(AT_ONCE);
    deleted.try_fold(0, |sum, one: usize| async move { Ok(sum + one) }).await
}
