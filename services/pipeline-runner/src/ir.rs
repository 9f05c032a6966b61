//! KFP's intermediate representation: read within limits, changed, written.

use std::collections::BTreeMap;

use kfops_core::{Failure, Reason};
use serde_json::{Map, Value};

use crate::{arguments::Parameter, run::Task};

/// Longest text that is read.
pub(crate) const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// A compiled pipeline.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ir {
    /// The PipelineSpec.
    pub(crate) pipeline: Value,
    /// Further documents: the platform specification, where there is one.
    pub(crate) platform: Vec<Value>,
}

impl Ir {
    /// Reads YAML that is not to be trusted.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        if text.len() as u64 > MAX_BYTES {
            return Err(invalid(format!("the compiled pipeline is larger than {MAX_BYTES} bytes")));
        }
        let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| {
            let error = error.to_string();
            let line: String = error.lines().next().unwrap_or_default().chars().take(300).collect();
            invalid(format!("the compiled pipeline is not YAML: {line}"))
        })?;
        Self::of(documents)
    }

    /// Of its documents, which are not to be trusted.
    pub(crate) fn of(documents: Vec<Value>) -> Result<Self, Failure> {
        let mut documents = documents.into_iter().filter(|document| !document.is_null());
        let pipeline = documents.next().ok_or_else(|| invalid("the compiled pipeline is empty"))?;
        if let Some(kind) = pipeline.get("kind").and_then(Value::as_str) {
            let kind: String = kind.chars().take(60).collect();
            return Err(invalid(format!("the file holds a Kubernetes resource of kind {kind}, not KFP 2 IR"))
                .action("compile the pipeline with KFP 2: kfp dsl compile --py FILE --output FILE.yaml"));
        }
        if !pipeline.is_object() {
            return Err(invalid("the compiled pipeline is not a mapping"));
        }
        Ok(Self { pipeline, platform: documents.collect() })
    }

    /// As YAML, the same for the same content.
    pub(crate) fn to_yaml(&self) -> Result<String, Failure> {
        let mut text = String::new();
        for document in std::iter::once(&self.pipeline).chain(&self.platform) {
            if !text.is_empty() {
                text.push_str("---\n");
            }
            text.push_str(&document_text(document)?);
        }
        Ok(text)
    }

    /// `executors.*.container.image`, with the executor's name.
    pub(crate) fn images_mut(&mut self) -> impl Iterator<Item = (&String, &mut String)> {
        let executors = self.pipeline.pointer_mut("/deploymentSpec/executors").and_then(Value::as_object_mut);
        executors.into_iter().flatten().filter_map(|(name, executor)| {
            match executor.get_mut("container").and_then(|container| container.get_mut("image")) {
                Some(Value::String(image)) => Some((name, image)),
                _ => None,
            }
        })
    }

    /// The pipeline's parameters.
    pub(crate) fn parameters(&self) -> BTreeMap<String, Parameter> {
        let entries = self.pipeline.pointer("/root/inputDefinitions/parameters").and_then(Value::as_object);
        let parameter = |value: &Value| Parameter {
            kind: value.get("parameterType").and_then(Value::as_str).unwrap_or_default().to_owned(),
            optional: value.get("isOptional") == Some(&Value::Bool(true)) || value.get("defaultValue").is_some(),
        };
        entries.into_iter().flatten().map(|(name, value)| (name.clone(), parameter(value))).collect()
    }

    /// The tasks of the pipeline itself that run something, not yet begun. Those inside of loops and conditions show
    /// when they begin.
    pub(crate) fn tasks(&self) -> Vec<Task> {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let tasks = self.pipeline.pointer("/root/dag/tasks").and_then(Value::as_object);
        let task = |(name, task): (&String, &Value)| {
            let component = entry(&self.pipeline, "components", &text(task.pointer("/componentRef/name")))?;
            let label = text(Some(component.get("executorLabel")?));
            let executor = entry(self.pipeline.get("deploymentSpec")?, "executors", &label)?;
            Some(Task::pending(name.clone(), text(executor.pointer("/container/image"))))
        };
        tasks.into_iter().flatten().filter_map(task).collect()
    }
}

fn entry<'a>(value: &'a Value, field: &str, name: &str) -> Option<&'a Value> {
    value.get(field).and_then(Value::as_object).and_then(|map: &Map<String, Value>| map.get(name))
}

/// YAML where it reads back as the same value, else JSON, which is YAML too.
fn document_text(document: &Value) -> Result<String, Failure> {
    // References by digest are long; folded over lines they would be hard to find.
    let options = serde_saphyr::ser_options! { folded_wrap_chars: 4096 };
    let yaml = serde_saphyr::to_string_with_options(document, options).map_err(Failure::internal)?;
    if serde_saphyr::from_str::<Value>(&yaml).is_ok_and(|back| &back == document) {
        return Ok(if yaml.ends_with('\n') { yaml } else { yaml + "\n" });
    }
    Ok(serde_json::to_string_pretty(document).map_err(Failure::internal)? + "\n")
}

/// A failure for what is no valid IR.
pub(crate) fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(Reason::PipelineInvalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let text = "pipelineInfo: {name: 'yes'}\nroot:\n  a: \"x\\n\\n  y\\n\"\n  n: 3.0\n---\nplatforms: {k: 1}\n";
        let ir = Ir::parse(text).unwrap();
        let written = ir.to_yaml().unwrap();
        assert_eq!(Ir::parse(&written).unwrap(), ir);
        assert!(written.contains("---"));
    }

    #[test]
    fn refuses_what_is_no_ir() {
        let refused = |text: &str| Ir::parse(text).unwrap_err().message;
        assert!(refused("").contains("empty"));
        assert!(refused("a: [").contains("not YAML"));
        assert!(refused("- 1").contains("not a mapping"));
        assert!(refused("apiVersion: x\nkind: Workflow").contains("Workflow"));
        let bomb = (1..12).fold("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, i| {
            let aliases = vec![format!("*a{}", i - 1); 10].join(", ");
            text + &format!("a{i}: &a{i} [{aliases}]\n")
        });
        assert!(refused(&bomb).contains("not YAML"));
    }
}
