//! `kfops.yaml` as types. The JSON schema comes from here, and so does what the reader accepts.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    environments::{Environment, Environments, Target, Timeouts},
    path::join,
    policy::Policy,
    quantity::Duration,
};

/// A model repository: the images it needs, the pipeline that trains, how the model is served, and who may do it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// Version of this format.
    #[serde(rename = "apiVersion")]
    #[schemars(extend("const" = "kfops.dev/v1"))]
    pub api_version: String,
    /// Always `Project`.
    #[schemars(extend("const" = "Project"))]
    pub kind: String,
    /// Container images that a command builds.
    #[serde(default)]
    pub images: Images,
    /// The Kubeflow pipeline that trains the model.
    pub pipeline: Pipeline,
    /// How the model is served; without it nothing can be deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Serving")]
    pub serving: Option<Serving>,
    /// Where it all runs.
    pub environments: Environments,
    /// Who may do what. Read from the base branch only.
    #[serde(default)]
    pub policy: Policy,
    /// How long the parts of a command may take.
    #[serde(default)]
    pub timeouts: Timeouts,
}

/// Container images and where they are pushed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Images {
    /// Prefix of every image, e.g. `registry.example.com/iris`. Without it: the builder's default registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("format" = "kfops-registry"))]
    pub registry: Option<String>,
    /// Whether the registry is spoken to over plain HTTP.
    #[serde(default)]
    pub insecure: bool,
    /// The images, built in parallel.
    #[serde(default)]
    pub build: Vec<Image>,
}

/// One image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Last part of the image's name.
    #[schemars(extend("format" = "kfops-image-name"))]
    pub name: String,
    /// Folder that becomes the build context.
    #[schemars(extend("format" = "kfops-path"))]
    pub context: String,
    /// Inside the context.
    #[serde(default = "dockerfile")]
    #[schemars(extend("format" = "kfops-path"))]
    pub dockerfile: String,
    /// Other folders, relative to the repository's root, each copied into the context under its last name.
    #[serde(default)]
    #[schemars(schema_with = "crate::schema::paths")]
    pub include: Vec<String>,
    /// Build arguments.
    #[serde(default)]
    pub args: BTreeMap<String, String>,
}

impl Image {
    /// The Dockerfile relative to the root of the repository.
    #[must_use]
    pub fn dockerfile_path(&self) -> String {
        join(&self.context, &self.dockerfile)
    }
}

fn dockerfile() -> String {
    "Dockerfile".to_owned()
}

/// The pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// Display name in Kubeflow, at most 128 bytes.
    #[schemars(extend("format" = "kfops-display-name"))]
    pub name: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// A Python file with a KFP 2 pipeline, or a compiled `.yaml`.
    #[schemars(extend("format" = "kfops-path"))]
    pub source: String,
    /// Needed where the Python file defines several pipelines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("format" = "kfops-python-name"))]
    pub function: Option<String>,
    /// The experiment of its runs. Without it: the pipeline's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("format" = "kfops-display-name"))]
    pub experiment: Option<String>,
    /// Values of the pipeline's parameters; `/run --set` overrides them.
    #[serde(default)]
    pub arguments: BTreeMap<String, serde_json::Value>,
    /// Which output is the model.
    #[serde(default)]
    pub model: Model,
    /// How long a run may take.
    #[serde(default = "run_timeout")]
    pub timeout: Duration,
}

impl Pipeline {
    /// The experiment of its runs.
    #[must_use]
    pub fn experiment(&self) -> &str {
        self.experiment.as_deref().unwrap_or(&self.name)
    }
}

pub(crate) fn run_timeout() -> Duration {
    Duration::from_secs(24 * 60 * 60)
}

/// The output artifact that is the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The task that writes it. Without it: the only task with such an output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("format" = "kfops-text"))]
    pub task: Option<String>,
    /// Name of the output artifact.
    #[serde(default = "model_output")]
    #[schemars(extend("format" = "kfops-text"))]
    pub output: String,
}

impl Default for Model {
    fn default() -> Self {
        Self { task: None, output: model_output() }
    }
}

fn model_output() -> String {
    "model".to_owned()
}

/// How the model is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Serving {
    /// Name of the InferenceService.
    #[schemars(extend("format" = "kfops-dns-label"))]
    pub name: String,
    /// The InferenceService with `{{ name }}`, `{{ namespace }}`, `{{ storage_uri }}`; Kfops 1's Python function works too.
    #[schemars(extend("format" = "kfops-path"))]
    pub template: String,
    /// A request (JSON) that a new revision must answer before it gets traffic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("format" = "kfops-path"))]
    pub sample: Option<String>,
    /// Requests with their expected answers, one JSON object per line: `request`, `expect`, `tolerance`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("format" = "kfops-path"))]
    pub golden: Option<String>,
}

/// What kind of template the InferenceService comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TemplateKind {
    /// YAML with placeholders.
    Yaml,
    /// Kfops 1's `inference_service_instance` function.
    Python,
}

impl Serving {
    /// What kind of template it is, by the file's name.
    #[must_use]
    pub fn template_kind(&self) -> TemplateKind {
        if self.template.ends_with(".py") { TemplateKind::Python } else { TemplateKind::Yaml }
    }
}

impl Project {
    /// Where and how `/deploy` or `/staging_deploy` goes; `None` when the environment is not configured.
    #[must_use]
    pub fn target(&self, environment: Environment) -> Option<&Target> {
        match environment {
            Environment::Staging => self.environments.staging.as_ref(),
            Environment::Production => self.environments.production.as_ref(),
        }
    }

    /// The image of that name.
    #[must_use]
    pub fn image(&self, name: &str) -> Option<&Image> {
        self.images.build.iter().find(|image| image.name == name)
    }
}
