//! Identities and rights of the cluster's users.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use http::HeaderMap;
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kfops_core::{Failure, Reason};
use kube::{Api, Client, Resource, api::PostParams};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::Semaphore;

use super::{
    recent::Recent,
    right::{GROUP, Right},
};
use crate::settings::ClusterSettings;

/// Questions to the API server at the same time: somebody who makes up tokens must not keep it busy.
const QUESTIONS: usize = 16;
/// Longest token. Those of service accounts have about 1 KiB.
const LONGEST_TOKEN: usize = 16 << 10;
/// How long an answer counts.
const LIFE: Duration = Duration::from_secs(10);

/// A user as Kubernetes knows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ClusterUser {
    /// E.g. `ann@example.com` or `system:serviceaccount:live:ci`.
    pub(crate) name: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

/// Asks the API server who somebody is and what they may.
pub(crate) struct Identity {
    client: Client,
    settings: ClusterSettings,
    namespace: String,
    questions: Semaphore,
    /// By SHA-256 of the token.
    users: Recent<[u8; 32], Option<ClusterUser>>,
    rights: Recent<(ClusterUser, Right), Result<(), String>>,
}

impl Identity {
    /// Connects when it is first asked.
    pub(crate) async fn new(settings: &ClusterSettings) -> Result<Self, Failure> {
        let client = kfops_kube::connect(&settings.kubernetes).await?;
        Ok(Self {
            namespace: client.default_namespace().to_owned(),
            client,
            settings: settings.clone(),
            questions: Semaphore::new(QUESTIONS),
            users: Recent::new(LIFE),
            rights: Recent::new(LIFE),
        })
    }

    /// The user that the mesh's ingress gateway names, if it is the one that asks. Anybody could write these headers.
    pub(crate) fn named_by_ingress(&self, headers: &HeaderMap) -> Option<ClusterUser> {
        let ingress = self.settings.ingress_principal.as_deref()?;
        if kfops_rpc::peer_principal(headers)? != ingress {
            return None;
        }
        let mut said = headers.get_all(&self.settings.user_header).iter();
        let (name, None) = (said.next()?.to_str().ok()?, said.next()) else { return None };
        let name = name.strip_prefix(&self.settings.user_prefix)?;
        if name.is_empty() || name.len() > 256 || !name.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        // The API server gives these to everybody whom it knows itself; a request must not choose them.
        let mut groups: Vec<String> = headers
            .get_all(&self.settings.groups_header)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|group| !group.is_empty() && !group.starts_with("system:"))
            .map(str::to_owned)
            .take(256)
            .collect();
        // A person of the mesh may be no service account and no part of the control plane.
        if name.starts_with("system:") {
            return None;
        }
        groups.push("system:authenticated".into());
        Some(ClusterUser { name: name.to_owned(), uid: String::new(), groups, extra: BTreeMap::new() })
    }

    /// Whose token that is; `digest` is its SHA-256.
    pub(crate) async fn of_token(&self, digest: [u8; 32], token: &SecretString) -> Result<ClusterUser, Failure> {
        let unknown = || {
            let audiences = self.settings.audiences.join(", ");
            Failure::new(Reason::Unauthenticated, "the cluster does not know the bearer token")
                .action(format!("send a fresh one: kubectl create token SERVICE_ACCOUNT --audience {audiences}"))
        };
        if token.expose_secret().len() > LONGEST_TOKEN {
            return Err(unknown());
        }
        if let Some(user) = self.users.get(&digest, Instant::now()) {
            return user.ok_or_else(unknown);
        }
        let spec = TokenReviewSpec {
            audiences: Some(self.settings.audiences.clone()),
            token: Some(token.expose_secret().to_owned()),
        };
        let review = self.ask(TokenReview { spec, ..TokenReview::default() }, "tokenreviews").await?;
        let status = review.status.unwrap_or_default();
        // An API server that does not know audiences answers without any: such a token is for somebody else.
        let ours = status.audiences.iter().flatten().any(|audience| self.settings.audiences.contains(audience));
        let user = status.user.filter(|_| status.authenticated == Some(true) && ours).and_then(|user| {
            Some(ClusterUser {
                name: user.username.filter(|name| !name.is_empty())?,
                uid: user.uid.unwrap_or_default(),
                groups: user.groups.unwrap_or_default(),
                extra: user.extra.unwrap_or_default(),
            })
        });
        self.users.put(digest, user.clone(), Instant::now());
        user.ok_or_else(unknown)
    }

    /// Whether RBAC lets that user.
    pub(crate) async fn may(&self, user: &ClusterUser, right: &Right) -> Result<(), Failure> {
        let question = (user.clone(), right.clone());
        let answer = match self.rights.get(&question, Instant::now()) {
            Some(answer) => answer,
            None => {
                let answer = self.review(user, right).await?;
                self.rights.put(question, answer.clone(), Instant::now());
                answer
            }
        };
        answer.map_err(|why| {
            let (verb, resource, namespace) = (right.verb, right.resource, &self.namespace);
            let why = if why.is_empty() { why } else { format!(" ({why})") };
            Failure::new(
                Reason::PermissionDenied,
                format!("`{}` may not {verb} {resource}.{GROUP} in the namespace {namespace}{why}", user.name),
            )
            .on(resource)
            .action("ask whoever runs Kfops for a RoleBinding to kfops-api-user or kfops-api-viewer")
        })
    }

    async fn review(&self, user: &ClusterUser, right: &Right) -> Result<Result<(), String>, Failure> {
        let (resource, subresource) = right.parts();
        let attributes = ResourceAttributes {
            group: Some(GROUP.into()),
            name: Some(right.name.clone()).filter(|name| !name.is_empty()),
            namespace: Some(self.namespace.clone()),
            resource: Some(resource.into()),
            subresource: subresource.map(str::to_owned),
            verb: Some(right.verb.into()),
            ..ResourceAttributes::default()
        };
        let spec = SubjectAccessReviewSpec {
            extra: Some(user.extra.clone()).filter(|extra| !extra.is_empty()),
            groups: Some(user.groups.clone()),
            resource_attributes: Some(attributes),
            uid: Some(user.uid.clone()).filter(|uid| !uid.is_empty()),
            user: Some(user.name.clone()),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let status = self.ask(review, "subjectaccessreviews").await?.status.unwrap_or_default();
        Ok(if status.allowed && status.denied != Some(true) { Ok(()) } else { Err(status.reason.unwrap_or_default()) })
    }

    async fn ask<K>(&self, question: K, resource: &str) -> Result<K, Failure>
    where
        K: Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
    {
        let _turn = self.questions.acquire().await.map_err(Failure::internal)?;
        let api: Api<K> = Api::all(self.client.clone());
        api.create(&PostParams::default(), &question).await.map_err(|error| kfops_kube::failure(&error, resource))
    }
}
