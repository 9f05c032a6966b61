//! From the repository's InferenceService template to what a model server needs.

use kfops_core::{Failure, Reason};
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use serde_json::Value;

use crate::service::{Predictor, Protocol, ServiceName};

/// Longest template, and longest text that it may become.
pub const MAX_BYTES: usize = 1 << 20;
/// Longest manifest: each revision keeps its own.
const MAX_MANIFEST: usize = 32 << 10;
/// Instructions that a template may take: loops in it end.
const FUEL: u64 = 200_000;
/// Keys of a predictor's model in the manner of KServe before 0.7.
const OLD_KEYS: [&str; 10] =
    ["sklearn", "xgboost", "lightgbm", "tensorflow", "pytorch", "triton", "onnx", "pmml", "paddle", "huggingface"];
/// Schemes of object stores that KServe fetches models from, and of this machine.
const SCHEMES: [&str; 8] = ["file", "s3", "gs", "hdfs", "https", "pvc", "hf", "oci"];

/// What a template may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inputs {
    /// `{{ name }}` and `{{ namespace }}`.
    pub service: ServiceName,
    /// `{{ storage_uri }}`.
    pub storage_uri: String,
    /// `{{ run_id }}`: the run that trained the model; may be empty.
    pub run_id: String,
    /// `{{ commit }}`; may be empty.
    pub commit: String,
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(Reason::TemplateInvalid, message)
}

/// Fills in the template. Values go in as they are, so only those that mean the same in every YAML style may.
pub fn render(template: &str, inputs: &Inputs) -> Result<Value, Failure> {
    for (name, value) in [("storage_uri", &inputs.storage_uri), ("run_id", &inputs.run_id), ("commit", &inputs.commit)]
    {
        let plain = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '/' | '.' | '_' | '-' | '~' | '+' | '=' | '%');
        let rest =
            value.split_once("://").filter(|(scheme, _)| SCHEMES.contains(scheme)).map_or(&**value, |(_, rest)| rest);
        if let Some(c) = rest.chars().find(|c| !plain(*c)) {
            return Err(invalid(format!("{name} has the character {c:?}, which cannot be put into YAML safely")));
        }
    }
    let mut environment = Environment::empty();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    let context = minijinja::context! {
        name => inputs.service.name.as_str(),
        namespace => inputs.service.namespace.as_str(),
        storage_uri => inputs.storage_uri.as_str(),
        run_id => inputs.run_id.as_str(),
        commit => inputs.commit.as_str(),
    };
    let mut text = Bounded::default();
    let rendered = environment
        .template_from_str(template)
        .and_then(|template| template.render_captured_to(context, &mut text).map(|_| ()))
        .map_err(|error| invalid(format!("the template cannot be filled in: {error}")));
    if text.overflow {
        return Err(invalid(format!("the template becomes longer than {MAX_BYTES} bytes")));
    }
    rendered?;
    let text = String::from_utf8(text.bytes).map_err(Failure::internal)?;
    serde_saphyr::from_str(&text).map_err(|error| invalid(format!("the template becomes no valid YAML: {error}")))
}

/// Checks that it is the InferenceService of this rollout, and takes out what its model server needs.
pub fn predictor(service: &Value, inputs: &Inputs) -> Result<Predictor, Failure> {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let expect = |path: &str, found: Option<String>, expected: &str| match found {
        Some(found) if found == expected => Ok(()),
        Some(found) => Err(invalid(format!("{path} is `{}`, expected `{expected}`", cut(&found)))),
        None => Err(invalid(format!("{path} is missing, expected `{expected}`"))),
    };
    expect("apiVersion", text(service.get("apiVersion")), "serving.kserve.io/v1beta1")?;
    expect("kind", text(service.get("kind")), "InferenceService")?;
    expect("metadata.name", text(service.pointer("/metadata/name")), &inputs.service.name)?;
    if let Some(namespace) = text(service.pointer("/metadata/namespace")) {
        expect("metadata.namespace", Some(namespace), &inputs.service.namespace)?;
    }
    let predictor = service
        .pointer("/spec/predictor")
        .and_then(Value::as_object)
        .ok_or_else(|| invalid("spec.predictor is missing"))?;
    let (path, format, model) = match predictor.get("model") {
        Some(model) => {
            let format = text(model.pointer("/modelFormat/name"))
                .ok_or_else(|| invalid("spec.predictor.model.modelFormat.name is missing"))?;
            ("spec.predictor.model".to_owned(), format, model)
        }
        None => OLD_KEYS
            .iter()
            .find_map(|format| {
                Some((format!("spec.predictor.{format}"), (*format).to_owned(), predictor.get(*format)?))
            })
            .ok_or_else(|| invalid("spec.predictor has no `model`"))?,
    };
    let protocol = match text(model.get("protocolVersion")).as_deref() {
        None | Some("v1") => Protocol::V1,
        Some("v2") => Protocol::V2,
        Some(other) => {
            return Err(invalid(format!("{path}.protocolVersion is `{}`; served are v1 and v2", cut(other))));
        }
    };
    let storage_uri = match model.get("storageUri") {
        None | Some(Value::Null) => inputs.storage_uri.clone(),
        Some(Value::String(uri)) if within(uri, &inputs.storage_uri) => uri.clone(),
        Some(uri) => {
            return Err(invalid(format!(
                "{path}.storageUri is `{}`, which is not the model of this rollout ({})",
                cut(uri.as_str().unwrap_or_default()),
                inputs.storage_uri
            ))
            .action("write {{ storage_uri }} there"));
        }
    };
    Ok(Predictor { format, protocol, storage_uri })
}

/// A model's address as KServe takes it: KFP writes `minio://`, which KServe does not know.
#[must_use]
pub fn storage_uri(uri: &str) -> String {
    uri.strip_prefix("minio://").map_or_else(|| uri.to_owned(), |rest| format!("s3://{rest}"))
}

/// As YAML, for people and for a comparison with what is live.
pub fn manifest(service: &Value) -> Result<String, Failure> {
    let text = serde_saphyr::to_string(service).map_err(Failure::internal)?;
    if text.len() > MAX_MANIFEST {
        return Err(invalid(format!("the InferenceService is longer than {MAX_MANIFEST} bytes")));
    }
    Ok(text)
}

/// The model itself or a folder in it.
fn within(uri: &str, model: &str) -> bool {
    let (uri, model) = (uri.trim_end_matches('/'), model.trim_end_matches('/'));
    uri == model
        || uri
            .strip_prefix(model)
            .and_then(|rest| rest.strip_prefix('/'))
            .is_some_and(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..")))
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

/// Takes as much as a template may become.
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    overflow: bool,
}

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + bytes.len() > MAX_BYTES {
            self.overflow = true;
            return Err(std::io::Error::other("too long"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
