//! What came of a command, link by link.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An image by digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Name in kfops.yaml.
    pub name: String,
    /// Where it lies.
    pub repository: String,
    /// `sha256:…`.
    pub digest: String,
}

/// A trained model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Where it lies.
    pub uri: String,
    /// `sha256:…`.
    pub digest: String,
    /// Bytes.
    pub size: i64,
}

/// Files of a commit in the object store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Key in the store.
    pub key: String,
    /// `sha256:…`.
    pub digest: String,
    /// The commit.
    pub commit: String,
}

/// What a `/rollback` brings back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Restored {
    /// The revision whose model comes back.
    pub revision: String,
    /// Id of the rollout that made it.
    pub rollout: String,
    /// How that one was served.
    pub serving: kfops_project::Serving,
    /// The pull request that deployed it.
    pub pull_request: u64,
    /// The revision that was live when it was chosen.
    pub replaces: String,
}

/// What was live when a rollout began: what its model is compared with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Replaced {
    /// The revision; empty when nothing was live.
    pub revision: String,
    /// Digest of its model.
    pub model: String,
    /// What its run measured.
    pub metrics: BTreeMap<String, f64>,
}

/// commit -> source archive -> images -> version -> run -> model -> revision.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lineage {
    /// The archive.
    pub source: Option<Source>,
    /// Images by digest.
    pub images: Vec<Image>,
    /// Names of those that were not built again.
    pub reused: Vec<String>,
    /// Id of the pipeline version.
    pub version: Option<String>,
    /// Digest of the pinned specification.
    pub spec_digest: String,
    /// Id of the run.
    pub run: Option<String>,
    /// What the run measured.
    pub metrics: BTreeMap<String, f64>,
    /// The model.
    pub model: Option<Model>,
    /// `namespaces/…/inferenceServices/…`.
    pub inference_service: String,
    /// The new revision.
    pub revision: String,
    /// The one before.
    pub previous_revision: String,
    /// Where predictions are answered.
    pub endpoint: String,
    /// The commit that the merge made.
    pub merge_commit: String,
    /// What was live when the rollout began.
    pub replaced: Option<Replaced>,
    /// `/rollback`: what it brings back.
    pub restored: Option<Restored>,
    /// `/rollback`: pull request and merge commit of what it replaces.
    pub undone: Option<(u64, String)>,
}
