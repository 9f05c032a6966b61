//! Requests to the API server: each with a deadline, lists in pieces, refusals in Kfops' words.

use std::{fmt::Debug, future::Future, time::Duration};

use kfops_core::{Failure, Reason};
use kube::{
    Api, Error, Resource,
    api::{ListParams, ObjectList, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};

/// Longest time that one request may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Objects in one piece of a list.
const PIECE: u32 = 500;
/// How often a list is begun again because it took so long that the API server forgot its beginning.
const AGAIN: usize = 3;

/// Waits for an answer, but not for ever.
pub(super) async fn ask<T>(request: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    match tokio::time::timeout(DEADLINE, request).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::Service(format!("no answer within {} s", DEADLINE.as_secs()).into())),
    }
}

/// Whether an object was changed since it was read.
pub(super) fn changed(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == 409 && !status.is_already_exists())
}

pub(super) fn exists(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.is_already_exists())
}

pub(super) fn gone(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == 404)
}

/// What went wrong with an object.
pub(super) fn failed(error: &Error, resource: &str) -> Failure {
    kfops_kube::failure(error, resource)
}

/// What went wrong with all objects of a kind: there is nothing to be found only where the kind is not known.
pub(super) fn failed_kind<K: Resource<DynamicType = ()>>(error: &Error) -> Failure {
    let kind = K::plural(&());
    if gone(error) {
        return Failure::new(
            Reason::ClusterRefused,
            format!("Kubernetes knows no {kind}.kfops.dev, or not the namespace"),
        )
        .on(format!("{kind}.kfops.dev"))
        .action("install the definitions: kubectl apply -f charts/kfops/crds");
    }
    failed(error, &kind)
}

/// All objects of a list, as far as `keep` wants them; `page` asks for a piece.
pub(super) async fn all<K, L, T, F>(
    params: &ListParams,
    page: impl Fn(ListParams) -> F,
    mut keep: impl FnMut(L) -> Option<T>,
) -> Result<Vec<T>, Failure>
where
    K: Resource<DynamicType = ()>,
    L: Clone,
    F: Future<Output = kube::Result<ObjectList<L>>>,
{
    let (mut tries, mut found, mut token) = (0, Vec::new(), None);
    loop {
        let mut piece = params.clone().limit(PIECE);
        piece.continue_token = token.take();
        match ask(page(piece)).await {
            Ok(list) => {
                found.extend(list.items.into_iter().filter_map(&mut keep));
                token = list.metadata.continue_.filter(|token| !token.is_empty());
                if token.is_none() {
                    return Ok(found);
                }
            }
            Err(Error::Api(status)) if status.code == 410 && tries < AGAIN => {
                tries += 1;
                found.clear();
            }
            Err(error) => return Err(failed_kind::<K>(&error)),
        }
    }
}

/// Replaces the status of an object, if nobody changed it since `resource_version`. The spec is not sent: it stays.
pub(super) async fn put_status<K>(
    api: &Api<K>,
    name: &str,
    resource_version: &str,
    status: &impl Serialize,
) -> kube::Result<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let put = serde_json::json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": { "name": name, "resourceVersion": resource_version },
        "status": status,
    });
    ask(api.replace_subresource("status", name, &PostParams::default(), &put)).await
}

/// A value in a field selector.
pub(super) fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=")
}
