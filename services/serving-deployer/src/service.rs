//! An InferenceService and its revisions: what is live, and what shares of the traffic they get.

use std::{fmt, time::SystemTime};

use kfops_core::{Failure, Reason, ResourceId, TraceContext};
use kfops_resource::Record;
use serde::{Deserialize, Serialize};

/// Revisions that were live are kept to go back to, those that never were to be looked at.
const RETIRED_KEPT: usize = 60;
const FAILED_KEPT: usize = 20;

/// Namespace and name of an InferenceService, both DNS labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceName {
    /// The Kubernetes namespace.
    pub namespace: String,
    /// The name within it.
    pub name: String,
}

impl ServiceName {
    /// Longest name: a revision's name, `<name>-00001`, is a DNS label too.
    const LONGEST: usize = 57;

    /// Reads `namespaces/{namespace}/inferenceServices/{name}`.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| {
            let shown: String = text.chars().take(200).collect();
            Failure::new(Reason::InvalidArgument, format!("`{shown}` is not the name of an InferenceService: {why}"))
        };
        let parts: Vec<&str> = text.split('/').collect();
        let ["namespaces", namespace, "inferenceServices", name] = parts[..] else {
            return Err(wrong("write it as namespaces/NAMESPACE/inferenceServices/NAME"));
        };
        let label = |text: &str| ResourceId::parse(text).map_err(|error| wrong(&error.to_string()));
        let (namespace, name) = (label(namespace)?.to_string(), label(name)?.to_string());
        if name.len() > Self::LONGEST {
            return Err(wrong(&format!("its name has more than {} characters", Self::LONGEST)));
        }
        Ok(Self { namespace, name })
    }

    /// `namespaces/{namespace}/inferenceServices/{name}`.
    #[must_use]
    pub fn resource(&self) -> String {
        format!("namespaces/{}/inferenceServices/{}", self.namespace, self.name)
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A revision among all InferenceServices.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevisionKey {
    /// The namespace of its InferenceService.
    pub namespace: String,
    /// e.g. `iris-00007`.
    pub revision: String,
}

impl fmt::Display for RevisionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.revision)
    }
}

/// A model in the model store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Where it lies.
    pub uri: String,
    /// Over its file names and contents.
    pub digest: String,
    /// In bytes.
    pub size_bytes: i64,
}

/// KServe's prediction protocols over REST.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    /// `:predict`, `instances` and `predictions`.
    V1,
    /// Open Inference Protocol: `/infer`, `inputs` and `outputs`.
    V2,
}

impl Protocol {
    /// Path of a prediction on a model server.
    #[must_use]
    pub fn path(self, model: &str) -> String {
        match self {
            Self::V1 => format!("/v1/models/{model}:predict"),
            Self::V2 => format!("/v2/models/{model}/infer"),
        }
    }
}

/// What a model server needs to know; comes out of the template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predictor {
    /// `sklearn`, `xgboost`, …
    pub format: String,
    /// What it speaks.
    pub protocol: Protocol,
    /// Where its model lies.
    pub storage_uri: String,
}

/// How a revision stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RevisionState {
    /// Not proven yet.
    Starting,
    /// Proven.
    Ready,
    /// Its rollout failed or was canceled.
    Failed,
    /// A newer one took its place.
    Retired,
}

impl RevisionState {
    /// As in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Retired => "retired",
        }
    }

    /// Whether requests may reach it.
    #[must_use]
    pub const fn reachable(self) -> bool {
        matches!(self, Self::Starting | Self::Ready)
    }
}

/// One model behind an InferenceService.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// e.g. `iris-00007`.
    pub name: String,
    /// How it stands.
    pub state: RevisionState,
    /// Share of the traffic; None: it is not in the route.
    pub percent: Option<u8>,
    /// What it serves.
    pub model: Model,
    /// How it serves it.
    pub predictor: Predictor,
    /// `runs/{run}` that trained the model.
    pub run: String,
    /// Id of the rollout that made it.
    pub rollout: String,
    /// The commit.
    pub commit: String,
    /// When it was made.
    pub created: SystemTime,
    /// The rendered InferenceService, YAML.
    #[serde(default)]
    pub manifest: String,
    /// The trace of its rollout.
    #[serde(default)]
    pub context: Option<TraceContext>,
}

impl Revision {
    /// Among all InferenceServices.
    #[must_use]
    pub fn key(&self, service: &ServiceName) -> RevisionKey {
        RevisionKey { namespace: service.namespace.clone(), revision: self.name.clone() }
    }
}

/// An InferenceService as it should be. The router and the servers are made to follow it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InferenceService {
    /// `namespace/name`: its key in the table.
    pub id: String,
    /// Its name.
    pub name: ServiceName,
    /// The revision that gets the traffic when no rollout is under way; empty before the first.
    pub live: String,
    /// How many revision names were given out.
    pub given: u32,
    /// Oldest first.
    pub revisions: Vec<Revision>,
    /// The highest fence that a rollout came with.
    #[serde(default)]
    pub fence: i64,
}

impl InferenceService {
    /// One without revisions.
    #[must_use]
    pub fn new(name: ServiceName) -> Self {
        Self { id: name.to_string(), name, live: String::new(), given: 0, revisions: Vec::new(), fence: 0 }
    }

    /// The revision of that name.
    #[must_use]
    pub fn revision(&self, name: &str) -> Option<&Revision> {
        self.revisions.iter().find(|r| r.name == name)
    }

    /// The same, to be changed.
    pub fn revision_mut(&mut self, name: &str) -> Option<&mut Revision> {
        self.revisions.iter_mut().find(|r| r.name == name)
    }

    /// The live revision.
    #[must_use]
    pub fn live_revision(&self) -> Option<&Revision> {
        self.revision(&self.live)
    }

    /// Gives the next name to `make`'s revision; asked again for the same rollout, it changes nothing.
    pub fn admit(&mut self, rollout: &str, make: impl FnOnce(String) -> Revision) {
        if !self.revisions.iter().any(|r| r.rollout == rollout) {
            self.given += 1;
            let name = format!("{}-{:05}", self.name.name, self.given);
            self.revisions.push(make(name));
            self.forget(RevisionState::Failed, FAILED_KEPT);
            self.forget(RevisionState::Retired, RETIRED_KEPT);
        }
    }

    /// Takes a revision in that is live already; later names are given after its number.
    pub fn adopt(&mut self, revision: Revision) {
        if self.live.is_empty() && self.revision(&revision.name).is_none() {
            let number = revision.name.rsplit_once('-').and_then(|(_, number)| number.parse().ok());
            self.given = self.given.max(number.unwrap_or_default());
            self.live.clone_from(&revision.name);
            self.revisions.push(revision);
        }
    }

    /// Forgets the oldest revisions of that state.
    fn forget(&mut self, state: RevisionState, keep: usize) {
        let mut surplus = self.revisions.iter().filter(|r| r.state == state).count().saturating_sub(keep);
        self.revisions.retain(|r| {
            let goes = surplus > 0 && r.state == state;
            surplus -= usize::from(goes);
            !goes
        });
    }

    /// Whether a rollout with this fence may no longer give traffic to its revision.
    #[must_use]
    pub fn shuts_out(&self, fence: i64) -> bool {
        fence != 0 && fence < self.fence
    }

    /// Gives `percent` to the revision and the rest to the live one.
    pub fn shift(&mut self, revision: &str, percent: u8) {
        let live = self.live.clone();
        for r in &mut self.revisions {
            if r.name == revision {
                r.percent = Some(percent);
            } else if r.name == live {
                r.percent = Some(100 - percent);
            }
        }
    }
}

impl Record for InferenceService {
    const COLLECTION: &'static str = "inference_services";

    fn id(&self) -> &str {
        &self.id
    }

    fn ended(&self) -> bool {
        false
    }

    fn same_request(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

#[cfg(test)]
mod tests;
