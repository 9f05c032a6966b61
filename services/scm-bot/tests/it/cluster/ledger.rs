//! The ledger in custom resources keeps every promise of the port, with no more rights than it names.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kfops_core::{Reason, SystemClock};
use kfops_scm_bot::{
    cluster::{ClusterLedger, CommandObject, Term},
    command::{Command, State},
    ports::{Accepted, Ledger},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams},
};

use super::{gate::Gate, server::Place};
use crate::ledger::{Factory, at, command, conforms, create, delivery, end};

struct Cluster(Place);

impl Factory for Cluster {
    fn new() -> Self {
        let place = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(Place::new())
        });
        Self(place.join().unwrap().unwrap())
    }

    async fn open(&self) -> Arc<dyn Ledger> {
        Arc::new(ledger(&self.0).await)
    }
}

pub(crate) async fn ledger(place: &Place) -> ClusterLedger {
    ledger_through(place, &Arc::default(), Term::default()).await
}

pub(crate) async fn ledger_through(place: &Place, gate: &Arc<Gate>, term: Term) -> ClusterLedger {
    ClusterLedger::new(&super::gate::client(place, gate).await, Arc::new(SystemClock), term)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_conforms() {
    if Place::new().await.is_some() {
        conforms::<Cluster>().await;
    }
}

#[tokio::test]
async fn without_its_definitions_or_rights_it_says_what_to_do() {
    let Some(place) = Place::new().await else { return };
    let mut config = place.config().await;
    config.default_namespace = "default".into();
    let clock = Arc::new(SystemClock);
    let elsewhere = ClusterLedger::new(&Client::try_from(config).unwrap(), clock.clone(), Term::default());
    let failure = elsewhere.open_ids().await.unwrap_err();
    assert_eq!(failure.reason, Reason::PermissionDenied, "{failure:?}");
    assert!(!failure.action.is_empty());
    // As who may do everything, in a namespace that is not there.
    let mut config = place.config().await;
    (config.default_namespace, config.auth_info.impersonate) = ("crd-is-not-there".into(), None);
    let nowhere = ClusterLedger::new(&Client::try_from(config).unwrap(), clock, Term::default());
    let failure = nowhere.accept(delivery("g-1", at(1)), vec![command("c-1")]).await.unwrap_err();
    assert_eq!(failure.reason, Reason::ClusterRefused, "{failure:?}");
    assert!(failure.action.contains("charts/kfops/crds"), "{failure:?}");
}

#[tokio::test]
async fn what_stands_is_refused_by_the_api_server_itself() {
    let Some(place) = Place::new().await else { return };
    let ledger = ledger(&place).await;
    let first = create(&ledger, "c-1").await;
    let ended = Command { outcome: Some(State::Failed), state: State::Failed, ..first };
    ledger.update(ended).await.unwrap().unwrap();
    let api: Api<CommandObject> = Api::default_namespaced(place.admin().await);
    let merge = PatchParams::default();
    for (patch, says) in [
        (serde_json::json!({"spec": {"actor": "mallory"}}), "cannot be changed"),
        (serde_json::json!({"spec": {"arguments": ["--force"]}}), "cannot be changed"),
    ] {
        let refused = api.patch("c-1", &merge, &Patch::Merge(&patch)).await.unwrap_err().to_string();
        assert!(refused.contains(says), "{patch}: {refused}");
    }
    for (patch, says) in [
        (serde_json::json!({"status": {"version": 1}}), "an older state"),
        (serde_json::json!({"status": {"ended": false}}), "stays so"),
        (serde_json::json!({"status": {"outcome": "succeeded"}}), "outcome of a command stands"),
        (serde_json::json!({"status": {"outcome": null}}), "outcome of a command stands"),
    ] {
        let refused = api.patch_status("c-1", &merge, &Patch::Merge(&patch)).await.unwrap_err().to_string();
        assert!(refused.contains(says), "{patch}: {refused}");
    }
    // What changes nothing of that is nobody's business.
    let label = serde_json::json!({"metadata": {"labels": {"example.com/seen": "true"}}});
    api.patch("c-1", &merge, &Patch::Merge(&label)).await.unwrap();
    let object = api.get("c-1").await.unwrap();
    let owners = serde_json::to_string(object.managed_fields()).unwrap();
    assert!(owners.len() < 4096, "{} bytes of owners: {owners}", owners.len());
}

/// A label that somebody sets, or an earlier look of the same process, is no reason to refuse a change.
#[tokio::test]
async fn only_a_newer_version_is_in_the_way() {
    let Some(place) = Place::new().await else { return };
    let (ledger, other) = (ledger(&place).await, ledger(&place).await);
    let first = create(&ledger, "c-1").await;
    let api: Api<CommandObject> = Api::default_namespaced(place.admin().await);
    let label = serde_json::json!({"metadata": {"labels": {"example.com/seen": "true"}}});
    api.patch("c-1", &PatchParams::default(), &Patch::Merge(&label)).await.unwrap();
    let second = ledger.update(Command { cancel: true, ..first.clone() }).await.unwrap().unwrap();
    let third = other.update(second.clone()).await.unwrap().unwrap();
    assert_eq!(ledger.update(second).await.unwrap(), None);
    let fourth = ledger.update(third).await.unwrap().unwrap();
    assert_eq!(other.get("c-1").await.unwrap(), fourth);
    assert_eq!(other.update(first).await.unwrap(), None);
}

#[tokio::test]
async fn a_record_of_another_time_is_shown_and_blocks_nobody() {
    let Some(place) = Place::new().await else { return };
    let ledger = ledger(&place).await;
    let new = ledger.accept(delivery("g-1", at(1)), vec![command("c-1"), command("c-2")]).await.unwrap();
    let Accepted::New(new) = new else { panic!("known") };
    ledger.update(new[0].clone()).await.unwrap().unwrap();
    let api: Api<CommandObject> = Api::default_namespaced(place.admin().await);
    let strange = serde_json::json!({"status": {"record": {"verb": "fly"}}});
    api.patch_status("c-1", &PatchParams::default(), &Patch::Merge(&strange)).await.unwrap();
    assert_eq!(ledger.get("c-1").await.unwrap().state, State::Failed);
    let ids: Vec<_> = ledger.open().await.unwrap().into_iter().map(|command| command.id).collect();
    assert_eq!(ids, ["c-2"]);
    assert_eq!(ledger.list(Default::default(), 10, "").await.unwrap().commands.len(), 2);
}

#[tokio::test]
async fn it_is_as_old_as_its_first_object() {
    let Some(place) = Place::new().await else { return };
    let ledger = ledger(&place).await;
    let namespaces: Api<Namespace> = Api::all(place.admin().await);
    let made = namespaces.get(&place.namespace).await.unwrap().creation_timestamp().unwrap();
    let born = ledger.born().await.unwrap();
    assert!(born >= std::time::SystemTime::from(made.0));
    ledger.compact(std::time::SystemTime::now(), std::time::SystemTime::now()).await.unwrap();
    assert_eq!(ledger.born().await.unwrap(), born);
}

#[tokio::test]
async fn what_others_write_is_told() {
    let Some(place) = Place::new().await else { return };
    let (gate, other) = (Arc::new(Gate::default()), ledger(&place).await);
    let first = create(&other, "c-1").await;
    // The API server is away at first.
    gate.cut(true);
    let mut changes = ledger_through(&place, &gate, Term::default()).await.changes().unwrap();
    tokio::time::timeout(Duration::from_millis(300), changes.next()).await.unwrap_err();
    gate.cut(false);
    let mut told = async |what: &dyn Fn(&Command) -> bool| {
        let told = async {
            loop {
                let command = changes.next().await.unwrap();
                if what(&command) {
                    return command;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), told).await.unwrap()
    };
    assert_eq!(told(&|command| command.id == "c-1").await, first);
    let second = create(&other, "c-2").await;
    assert_eq!(told(&|command| command.id == "c-2").await, second);
    let wished = other.update(Command { cancel: true, ..first }).await.unwrap().unwrap();
    assert_eq!(told(&|command| command.cancel).await, wished);
    end(&other, "c-1", true, at(9)).await;
    assert_eq!(told(&|command| command.state.ended()).await, other.get("c-1").await.unwrap());
}
