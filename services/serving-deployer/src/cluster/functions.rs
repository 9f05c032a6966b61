//! Deployment functions of Kfops 1 are Python of the pull request; there is no sandbox for them in the cluster.

use std::path::Path;

use async_trait::async_trait;
use kfops_core::{Failure, Reason};
use serde_json::Value;

use crate::{ports::DeploymentFunctions, template::Inputs};

/// Refuses them.
pub(super) struct Refused;

#[async_trait]
impl DeploymentFunctions for Refused {
    async fn call(&self, _: &Path, _: &Path, _: &Inputs) -> Result<Value, Failure> {
        Err(Failure::new(Reason::TemplateInvalid, "deployment functions in Python run on one machine only").action(
            "write the InferenceService as a YAML template: `/plan` of local mode prints what the function makes",
        ))
    }
}
