//! Kfops 1's `config_files/config.yaml`, read as the same project.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::{
    diagnostic::{Diagnostic, Severity},
    environments::{Environments, Strategy, Target, Timeouts},
    policy::Policy,
    position::Positions,
    read::{Reading, typed},
    schema,
    shape::Rules,
    types::{Image, Images, Model, Pipeline, Project, Serving},
    yaml::Node,
};

#[derive(Deserialize, JsonSchema)]
struct Config {
    #[serde(default)]
    repository: Json,
    pipeline: ConfigPipeline,
    #[serde(default)]
    #[schemars(with = "ConfigDeployment")]
    deployment: Option<ConfigDeployment>,
    #[serde(default)]
    image_builder: ConfigImages,
}

#[derive(Deserialize, JsonSchema)]
struct ConfigPipeline {
    #[schemars(extend("format" = "kfops-display-name"))]
    name: String,
    #[serde(default)]
    description: String,
    #[schemars(extend("format" = "kfops-dns-label"))]
    namespace: String,
    #[serde(default)]
    #[schemars(with = "String", extend("format" = "kfops-display-name"))]
    experiment_name: Option<String>,
    #[schemars(extend("format" = "kfops-path"))]
    pipeline_path: String,
    #[serde(default)]
    #[schemars(with = "String", extend("format" = "kfops-python-name"))]
    pipeline_function_name: Option<String>,
    #[serde(default)]
    pipeline_execution_mode: Json,
    #[serde(default)]
    pipeline_args: BTreeMap<String, Json>,
}

#[derive(Deserialize, JsonSchema)]
struct ConfigDeployment {
    #[schemars(extend("format" = "kfops-dns-label"))]
    inference_service_name: String,
    #[schemars(extend("format" = "kfops-path"))]
    inference_service_function_path: String,
    #[serde(default)]
    #[schemars(with = "String", extend("format" = "kfops-path"))]
    pre_deployment_test_sample_input_path: Option<String>,
    #[serde(default)]
    #[schemars(with = "ConfigTarget")]
    production: Option<ConfigTarget>,
    #[serde(default)]
    #[schemars(with = "ConfigTarget")]
    staging: Option<ConfigTarget>,
}

#[derive(Deserialize, JsonSchema)]
struct ConfigTarget {
    #[schemars(extend("format" = "kfops-dns-label"))]
    namespace: String,
}

#[derive(Default, Deserialize, JsonSchema)]
struct ConfigImages {
    #[serde(default)]
    #[schemars(with = "String", extend("format" = "kfops-registry"))]
    container_registry_uri: Option<String>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    images: Vec<ConfigImage>,
    #[serde(default)]
    minio: Json,
}

#[derive(Deserialize, JsonSchema)]
struct ConfigImage {
    #[schemars(extend("format" = "kfops-image-name"))]
    name: String,
    #[schemars(extend("format" = "kfops-path"))]
    dockerfile_folder_path: String,
    #[serde(default)]
    #[schemars(schema_with = "crate::schema::paths")]
    other_folders_path: Vec<String>,
}

/// Key paths of `kfops.yaml` and what they were called. Longer ones first.
const NAMES: &[(&str, &str)] = &[
    ("images.registry", "image_builder.container_registry_uri"),
    ("images.insecure", "image_builder.insecure"),
    ("images.build", "image_builder.images"),
    ("images", "image_builder"),
    ("pipeline.source", "pipeline.pipeline_path"),
    ("pipeline.function", "pipeline.pipeline_function_name"),
    ("pipeline.experiment", "pipeline.experiment_name"),
    ("pipeline.arguments", "pipeline.pipeline_args"),
    ("serving.name", "deployment.inference_service_name"),
    ("serving.template", "deployment.inference_service_function_path"),
    ("serving.sample", "deployment.pre_deployment_test_sample_input_path"),
    ("serving", "deployment"),
    ("environments.build", "pipeline.namespace"),
    ("environments.production", "deployment.production"),
    ("environments.staging", "deployment.staging"),
    ("environments", "deployment"),
];

fn rename(path: &str) -> String {
    let matches = |new: &str| path.strip_prefix(new).filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
    let found = NAMES.iter().find_map(|(new, old)| matches(new).map(|rest| format!("{old}{rest}")));
    let path = found.unwrap_or_else(|| path.to_owned());
    if path.starts_with("image_builder.images[") {
        return path.replace("].context", "].dockerfile_folder_path").replace("].include", "].other_folders_path");
    }
    path
}

/// Reads it; what Kfops 2 has no use for becomes a warning.
pub(crate) fn read(file: &str, root: &Node) -> Result<Reading, Vec<Diagnostic>> {
    let rules = Rules { unknown_keys: Severity::Warning, nothing_is_absent: true };
    let (config, positions, mut diagnostics) = typed::<Config>(file, root, rules, &schema::inlined::<Config>())?;
    diagnostics.extend(obsolete(file, &config, &positions));
    let project = convert(config);
    Ok(Reading { project, file: file.to_owned(), positions, rename, diagnostics })
}

fn obsolete(file: &str, config: &Config, positions: &Positions) -> Vec<Diagnostic> {
    let gone = [
        ("repository", &config.repository, "not needed: the webhook says which repository it is"),
        ("pipeline.pipeline_execution_mode", &config.pipeline.pipeline_execution_mode, "obsolete: KFP 2 has one mode"),
        (
            "image_builder.minio",
            &config.image_builder.minio,
            "ignored: Kfops keeps build contexts in its own object store",
        ),
    ];
    gone.into_iter()
        .filter(|(_, value, _)| !value.is_null())
        .map(|(path, _, message)| Diagnostic::warning(file, positions.value(path), path, message))
        .collect()
}

fn convert(config: Config) -> Project {
    let Config { pipeline, deployment, image_builder, .. } = config;
    let target = |target: ConfigTarget| Target { namespace: target.namespace, strategy: Strategy::default() };
    let (serving, production, staging) = match deployment {
        Some(deployment) => (
            Some(Serving {
                name: deployment.inference_service_name,
                template: deployment.inference_service_function_path,
                sample: deployment.pre_deployment_test_sample_input_path,
                golden: None,
            }),
            deployment.production.map(target),
            deployment.staging.map(target),
        ),
        None => (None, None, None),
    };
    let images = image_builder.images.into_iter().map(|image| Image {
        name: image.name,
        context: image.dockerfile_folder_path,
        dockerfile: "Dockerfile".to_owned(),
        include: image.other_folders_path,
        args: BTreeMap::new(),
    });
    Project {
        api_version: "kfops.dev/v1".to_owned(),
        kind: "Project".to_owned(),
        images: Images {
            registry: image_builder.container_registry_uri,
            insecure: image_builder.insecure,
            build: images.collect(),
        },
        pipeline: Pipeline {
            name: pipeline.name,
            description: pipeline.description,
            source: pipeline.pipeline_path,
            function: pipeline.pipeline_function_name,
            experiment: pipeline.experiment_name,
            arguments: pipeline.pipeline_args,
            model: Model::default(),
            timeout: crate::types::run_timeout(),
        },
        serving,
        environments: Environments { build: pipeline.namespace, staging, production },
        policy: Policy::default(),
        timeouts: Timeouts::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_names_are_told() {
        for (new, old) in [
            ("images.build[1].context", "image_builder.images[1].dockerfile_folder_path"),
            ("images.build[1].include[0]", "image_builder.images[1].other_folders_path[0]"),
            ("environments.production.namespace", "deployment.production.namespace"),
            ("serving.sample", "deployment.pre_deployment_test_sample_input_path"),
            ("pipeline.name", "pipeline.name"),
        ] {
            assert_eq!(rename(new), old);
        }
    }
}
