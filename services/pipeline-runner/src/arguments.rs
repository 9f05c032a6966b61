//! Arguments of a run, against the parameters of its pipeline.

use std::collections::BTreeMap;

use kfops_core::{Failure, Reason};
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

/// Kfops 1's convention: an input of this name is given the version's id.
const VERSION_ID: &str = "version_id";
/// Above this, a double no longer holds every integer (IEEE 754, binary64).
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A parameter of a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Parameter {
    /// `NUMBER_INTEGER`, `STRING`, … (KFP's ParameterTypeEnum).
    pub(crate) kind: String,
    /// Whether a run may leave it out.
    pub(crate) optional: bool,
}

/// The arguments as the pipeline wants them.
pub(crate) fn resolve(
    parameters: &BTreeMap<String, Parameter>,
    given: BTreeMap<String, Value>,
    version: &str,
) -> Result<BTreeMap<String, Value>, Failure> {
    let mut resolved = BTreeMap::new();
    for (name, value) in given {
        let Some(parameter) = parameters.get(&name) else {
            let known: Vec<&str> = parameters.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "it has none".into() } else { format!("it has: {}", known.join(", ")) };
            let name: String = name.chars().take(100).collect();
            return Err(Failure::new(
                Reason::InvalidArgument,
                format!("the pipeline has no parameter `{name}`; {known}"),
            )
            .on(format!("run.arguments.{name}")));
        };
        let value = convert(&parameter.kind, value).map_err(|given| {
            let message = format!("parameter `{name}` is of type {}, not {given}", parameter.kind);
            Failure::new(Reason::InvalidArgument, message).on(format!("run.arguments.{name}"))
        })?;
        resolved.insert(name, value);
    }
    if parameters.get(VERSION_ID).is_some_and(|p| p.kind == "STRING") {
        resolved.entry(VERSION_ID.to_owned()).or_insert_with(|| version.into());
    }
    let missing: Vec<&str> = parameters
        .iter()
        .filter(|(name, parameter)| !parameter.optional && !resolved.contains_key(*name))
        .map(|(name, _)| name.as_str())
        .collect();
    if missing.is_empty() {
        return Ok(resolved);
    }
    let message = format!("the pipeline needs a value for: {}", missing.join(", "));
    Err(Failure::new(Reason::InvalidArgument, message).on("run.arguments").action("set them under pipeline.arguments"))
}

/// The value in the parameter's type; what was written as text is read, for it often comes from a comment.
fn convert(kind: &str, value: Value) -> Result<Value, String> {
    let integer = |number: f64| {
        #[expect(clippy::cast_possible_truncation, reason = "checked to be a small whole number")]
        (number.fract() == 0.0 && number.abs() < EXACT).then(|| Value::from(number as i64))
    };
    let converted = match (kind, &value) {
        ("NUMBER_INTEGER", Value::Number(number)) => number.as_f64().and_then(integer),
        ("NUMBER_INTEGER", Value::String(text)) => text.trim().parse::<i64>().ok().map(Value::from),
        ("NUMBER_DOUBLE", Value::Number(_)) => Some(value.clone()),
        ("NUMBER_DOUBLE", Value::String(text)) => {
            text.trim().parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number)
        }
        ("STRING", Value::String(_)) | ("BOOLEAN", Value::Bool(_)) => Some(value.clone()),
        ("STRING", Value::Number(number)) => {
            let whole = number.as_f64().and_then(integer);
            Some(Value::String(whole.map_or_else(|| number.to_string(), |whole| whole.to_string())))
        }
        ("STRING", Value::Bool(truth)) => Some(Value::String(truth.to_string())),
        ("BOOLEAN", Value::String(text)) => text.trim().to_lowercase().parse::<bool>().ok().map(Value::Bool),
        ("LIST", Value::Array(_)) | ("STRUCT", Value::Object(_)) => Some(value.clone()),
        ("LIST", Value::String(text)) => serde_json::from_str(text).ok().filter(Value::is_array),
        ("STRUCT", Value::String(text)) => serde_json::from_str(text).ok().filter(Value::is_object),
        ("NUMBER_INTEGER" | "NUMBER_DOUBLE" | "STRING" | "BOOLEAN" | "LIST" | "STRUCT", _) => None,
        _ => Some(value.clone()),
    };
    converted.ok_or_else(|| {
        let text: String = value.to_string().chars().take(100).collect();
        format!("`{text}`")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parameters() -> BTreeMap<String, Parameter> {
        let of = |name: &str, kind: &str, optional| (name.to_owned(), Parameter { kind: kind.into(), optional });
        [of("depth", "NUMBER_INTEGER", false), of("label", "STRING", true), of("version_id", "STRING", false)].into()
    }

    fn given(value: Value) -> BTreeMap<String, Value> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn values_take_the_parameters_type() {
        let resolved = resolve(&parameters(), given(json!({"depth": 3.0, "label": 5.0})), "v-1").unwrap();
        assert_eq!(resolved, given(json!({"depth": 3, "label": "5", "version_id": "v-1"})));
        let resolved = resolve(&parameters(), given(json!({"depth": "4", "version_id": "x"})), "v-1").unwrap();
        assert_eq!(resolved, given(json!({"depth": 4, "version_id": "x"})));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let message = |value| resolve(&parameters(), given(value), "v-1").unwrap_err().message;
        assert!(message(json!({"depht": 3})).contains("`depht`; it has: depth, label, version_id"));
        assert!(message(json!({})).contains("depth"));
        assert!(message(json!({"depth": 2.5})).contains("NUMBER_INTEGER"));
        assert!(message(json!({"depth": "many"})).contains("many"));
    }
}
