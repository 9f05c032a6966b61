//! A pipeline version: what was asked for, and what compiling made of it.

use std::{collections::BTreeMap, time::SystemTime};

use kfops_core::{Digest, Failure, Reason};
use kfops_resource::Record;
use serde::{Deserialize, Serialize};

use crate::{arguments::Parameter, life::Life};

/// An archive of one commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Key in the object store.
    pub key: String,
    /// Of the archive's bytes.
    pub digest: Digest,
    /// The commit.
    pub commit: String,
    /// `owner/name`.
    pub repository: String,
}

/// An image of the build that the pipeline is compiled against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The name in the repository's configuration.
    pub name: String,
    /// Where it lies, without tag or digest.
    pub repository: String,
    /// Of its manifest.
    pub digest: Digest,
}

impl Image {
    /// `repository@digest`.
    #[must_use]
    pub fn reference(&self) -> String {
        format!("{}@{}", self.repository, self.digest)
    }
}

/// What a version is asked to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VersionSpec {
    pub(crate) source: Source,
    pub(crate) pipeline: String,
    pub(crate) path: String,
    pub(crate) function: String,
    pub(crate) description: String,
    pub(crate) images: Vec<Image>,
}

impl VersionSpec {
    /// Refuses what cannot be compiled.
    pub(crate) fn validate(&self) -> Result<(), Failure> {
        let wrong = |field: &str, message: String| Err(Failure::new(Reason::InvalidArgument, message).on(field));
        if self.pipeline.trim().is_empty() || self.pipeline.len() > 128 {
            return wrong("pipeline_version.pipeline", "the pipeline's name must have 1 to 128 bytes".into());
        }
        if !relative(&self.path) {
            let message = format!("path `{}` is not a path below the repository's root", head(&self.path));
            return wrong("pipeline_version.path", message);
        }
        if !self.is_yaml() && !self.path.ends_with(".py") {
            let message =
                format!("path `{}` is neither Python (.py) nor compiled YAML (.yaml, .yml)", head(&self.path));
            return wrong("pipeline_version.path", message);
        }
        let identifier = |c: char| c.is_alphanumeric() || c == '_';
        if !self.function.chars().all(identifier) || self.function.len() > 200 {
            let message = format!("function `{}` is not a Python identifier", head(&self.function));
            return wrong("pipeline_version.function", message);
        }
        for (index, image) in self.images.iter().enumerate() {
            let field = format!("pipeline_version.images[{index}]");
            let text = |c: char| c.is_ascii_graphic() && !"@{}\"'\\".contains(c);
            if image.name.is_empty() || image.repository.is_empty() || !image.repository.chars().all(text) {
                return wrong(&field, "an image needs a name and a repository without tag and digest".into());
            }
            if self.images.iter().take(index).any(|other| other.name == image.name) {
                return wrong(&field, format!("there are two images called `{}`", head(&image.name)));
            }
        }
        Ok(())
    }

    /// Whether the repository ships it compiled.
    pub(crate) fn is_yaml(&self) -> bool {
        self.path.ends_with(".yaml") || self.path.ends_with(".yml")
    }
}

/// A part of the compilation, for its trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Phase {
    pub(crate) name: String,
    pub(crate) start: SystemTime,
    pub(crate) end: SystemTime,
    pub(crate) error: Option<String>,
}

/// A version as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PipelineVersion {
    pub(crate) life: Life,
    pub(crate) spec: VersionSpec,
    pub(crate) sandbox: String,
    pub(crate) spec_digest: Option<Digest>,
    pub(crate) parameters: BTreeMap<String, Parameter>,
    pub(crate) phases: Vec<Phase>,
}

impl PipelineVersion {
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", Self::COLLECTION, self.life.id)
    }

    /// Where the pinned specification lies in the object store.
    pub(crate) fn spec_key(&self) -> String {
        format!("specs/{}.yaml", self.life.id)
    }

    /// Where the log lies in the object store.
    pub(crate) fn log_key(&self) -> String {
        format!("logs/pipelineVersions/{}.log", self.life.id)
    }
}

impl Record for PipelineVersion {
    const COLLECTION: &'static str = "pipelineVersions";

    fn id(&self) -> &str {
        &self.life.id
    }

    fn ended(&self) -> bool {
        self.life.state.ended()
    }

    fn same_request(&self, other: &Self) -> bool {
        self.spec == other.spec
    }
}

/// A path of normal parts only.
fn relative(path: &str) -> bool {
    use std::path::{Component, Path};
    !path.is_empty()
        && path.len() < 1000
        && !path.contains(['\0', '\n'])
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

fn head(text: &str) -> String {
    text.chars().take(100).collect()
}
