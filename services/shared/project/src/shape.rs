//! A YAML tree against a JSON schema: every difference is reported, what fits becomes JSON.
//!
//! The schema comes from the Rust types, so the two cannot disagree. Formats that start with `kfops-` are ours.

use serde_json::{Map, Value as Json};

use crate::{
    diagnostic::{Diagnostic, Severity},
    path,
    position::{Position, Positions, at, join},
    quantity::{Duration, Percent},
    scalar::resolve,
    suggest::nearest,
    yaml::{Key, Node, Value},
};

/// How strictly a file is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// What an unknown key is.
    pub(crate) unknown_keys: Severity,
    /// Whether a key without a value is a key that is not there.
    pub(crate) nothing_is_absent: bool,
}

/// Reads a tree; collects problems and positions.
pub(crate) struct Shape<'a> {
    file: &'a str,
    rules: Rules,
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) positions: Positions,
}

impl<'a> Shape<'a> {
    pub(crate) fn new(file: &'a str, rules: Rules) -> Self {
        Self { file, rules, diagnostics: Vec::new(), positions: Positions::default() }
    }

    /// The tree as JSON of that schema. What does not fit is left out, and said.
    pub(crate) fn read(&mut self, node: &Node, schema: &Json) -> Json {
        self.node("", node, node.at, schema).unwrap_or(Json::Null)
    }

    fn error(&mut self, at: Position, path: &str, message: impl Into<String>) {
        self.diagnostics.push(Diagnostic::error(self.file, at, path, message));
    }

    fn node(&mut self, path: &str, node: &Node, key: Position, schema: &Json) -> Option<Json> {
        self.positions.insert(path, key, node.at);
        let types: Vec<&str> = match schema.get("type") {
            Some(Json::String(one)) => vec![one],
            Some(Json::Array(many)) => many.iter().filter_map(Json::as_str).collect(),
            _ if ["enum", "const", "oneOf"].iter().any(|words| schema.get(words).is_some()) => vec!["string"],
            // No type: anything goes.
            _ => {
                return Some(self.any(path, node));
            }
        };
        match (&node.value, types.as_slice()) {
            (Value::Mapping(entries), ["object"]) => Some(self.mapping(path, key, entries, schema)),
            (Value::Sequence(items), ["array"]) => {
                let any = Json::Bool(true);
                let schema_of_items = schema.get("items").unwrap_or(&any);
                let max = schema.get("maxItems").and_then(Json::as_u64);
                if max.is_some_and(|max| items.len() as u64 > max) {
                    self.error(node.at, path, format!("more than {} entries", max.unwrap_or_default()));
                }
                let items = items.iter().enumerate();
                let read = items.filter_map(|(i, item)| {
                    self.node(&at(path, i), item, item.at, schema_of_items).or_else(|| placeholder(schema_of_items))
                });
                Some(read.collect())
            }
            (Value::Scalar { text, plain }, types) if !matches!(types, ["object"] | ["array"]) && !node.is_null() => {
                self.scalar(path, node.at, (text, *plain), types, schema)
            }
            _ => {
                self.error(node.at, path, format!("expected {}, found {}", wanted(&types, schema), found(node)));
                None
            }
        }
    }

    fn mapping(&mut self, path: &str, place: Position, entries: &[(Key, Node)], schema: &Json) -> Json {
        let none = Map::new();
        let properties = schema.get("properties").and_then(Json::as_object).unwrap_or(&none);
        let others = schema.get("additionalProperties").filter(|others| **others != Json::Bool(false));
        let mut out = Map::new();
        let mut seen: Vec<&Key> = Vec::new();
        for (key, node) in entries {
            let here = join(path, &key.text);
            if let Some(first) = seen.iter().find(|first| first.text == key.text) {
                let line = first.at.line;
                self.error(key.at, &here, format!("written twice, first in line {line}"));
                continue;
            }
            seen.push(key);
            let Some(schema_of_value) = properties.get(&key.text).or(others) else {
                let missing = properties.keys().filter(|known| !entries.iter().any(|(k, _)| k.text == **known));
                let suggestion = nearest(&key.text, missing.map(String::as_str));
                let mut unknown = Diagnostic::error(self.file, key.at, here, "unknown key").suggest(suggestion);
                unknown.severity = self.rules.unknown_keys;
                self.diagnostics.push(unknown);
                continue;
            };
            if self.rules.nothing_is_absent && node.is_null() {
                continue;
            }
            if let Some(value) = self.node(&here, node, key.at, schema_of_value) {
                out.insert(key.text.clone(), value);
            }
        }
        for required in schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str) {
            let written = entries
                .iter()
                .any(|(key, node)| key.text == required && !(self.rules.nothing_is_absent && node.is_null()));
            if !written {
                self.error(place, path, format!("missing key `{required}`"));
            }
            // Reading goes on, so that what is wrong elsewhere is said too.
            if let (None, Some(schema)) = (out.get(required), properties.get(required)) {
                out.extend(placeholder(schema).map(|value| (required.to_owned(), value)));
            }
        }
        Json::Object(out)
    }

    fn scalar(
        &mut self,
        path: &str,
        at: Position,
        scalar: (&str, bool),
        types: &[&str],
        schema: &Json,
    ) -> Option<Json> {
        let (text, plain) = scalar;
        if types.contains(&"string") {
            return match self.text(text, schema) {
                Ok(text) => Some(Json::String(text)),
                Err((message, suggestion)) => {
                    self.diagnostics.push(Diagnostic::error(self.file, at, path, message).suggest(suggestion));
                    None
                }
            };
        }
        let value = if plain { resolve(text) } else { Json::String(text.to_owned()) };
        let fits = match types {
            ["integer"] => value.is_i64() || value.is_u64(),
            ["number"] => value.is_number(),
            ["boolean"] => value.is_boolean(),
            _ => false,
        };
        if !fits {
            self.error(at, path, format!("expected {}, found `{}`", wanted(types, schema), short(text)));
            return None;
        }
        let (min, max) = (schema.get("minimum").and_then(Json::as_f64), schema.get("maximum").and_then(Json::as_f64));
        let outside = value.as_f64().is_some_and(|v| min.is_some_and(|min| v < min) || max.is_some_and(|max| v > max));
        if outside {
            let range = format!("{} to {}", min.unwrap_or(f64::MIN), max.unwrap_or(f64::MAX));
            self.error(at, path, format!("{} is outside {range}", short(text)));
            return None;
        }
        Some(value)
    }

    /// Text of the schema's format, in its normal form; or a message and a suggestion.
    fn text(&self, text: &str, schema: &Json) -> Result<String, (String, Option<String>)> {
        if let Some(Json::String(only)) = schema.get("const") {
            let differs = |()| (format!("must be `{only}`, found `{}`", short(text)), None);
            return (only == text).then(|| text.to_owned()).ok_or(()).map_err(differs);
        }
        let allowed = choices(schema);
        if !allowed.is_empty() && !allowed.contains(&text) {
            let message = format!("`{}` is none of {}", short(text), allowed.join(", "));
            return Err((message, nearest(text, allowed)));
        }
        let format = schema.get("format").and_then(Json::as_str).unwrap_or_default();
        crate::rules::format(format, text).map_err(|message| (message, None))
    }

    /// Any YAML as JSON.
    fn any(&mut self, path: &str, node: &Node) -> Json {
        match &node.value {
            Value::Scalar { text, plain: true } => resolve(text),
            Value::Scalar { text, plain: false } => Json::String(text.clone()),
            Value::Sequence(items) => items.iter().enumerate().map(|(i, item)| self.any(&at(path, i), item)).collect(),
            Value::Mapping(entries) => {
                self.mapping(path, node.at, entries, &serde_json::json!({"additionalProperties": {}}))
            }
        }
    }
}

/// Stands for a value that is missing or wrong, where serde needs one. Never used once there are errors.
fn placeholder(schema: &Json) -> Option<Json> {
    if let Some(only) = schema.get("const") {
        return Some(only.clone());
    }
    match schema.get("type").and_then(Json::as_str)? {
        "string" => Some(Json::String(String::new())),
        "array" => Some(Json::Array(Vec::new())),
        "object" => {
            let required =
                schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str);
            let properties = schema.get("properties");
            let filled = required.filter_map(|key| Some((key.to_owned(), placeholder(properties?.get(key)?)?)));
            Some(Json::Object(filled.collect()))
        }
        _ => None,
    }
}

/// The words of an enum: `enum`, or one `const` per variant.
fn choices(schema: &Json) -> Vec<&str> {
    let of = |key: &str| schema.get(key).and_then(Json::as_array).into_iter().flatten();
    of("enum")
        .filter_map(Json::as_str)
        .chain(of("oneOf").filter_map(|variant| variant.get("const")?.as_str()))
        .collect()
}

fn wanted(types: &[&str], schema: &Json) -> &'static str {
    match (types, schema.get("format").and_then(Json::as_str)) {
        (_, Some("kfops-duration")) => "a duration such as 30s",
        (_, Some("kfops-percent")) => "a share such as 0.1%",
        (_, Some("kfops-path")) => "a path",
        (["object"], _) => "a mapping",
        (["array"], _) => "a list",
        (["integer"], _) => "a whole number",
        (["number"], _) => "a number",
        (["boolean"], _) => "true or false",
        _ => "text",
    }
}

fn found(node: &Node) -> String {
    match &node.value {
        _ if node.is_null() => "nothing".to_owned(),
        Value::Scalar { text, .. } => format!("`{}`", short(text)),
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) => "a mapping".to_owned(),
    }
}

/// Enough of a text to recognise it.
pub(crate) fn short(text: &str) -> String {
    let mut shown: String = text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().count() > 60 {
        shown.push('…');
    }
    shown
}

/// Normal forms of the quantities, used by [`crate::rules::format`].
pub(crate) fn quantity(format: &str, text: &str) -> Option<Result<String, String>> {
    match format {
        "kfops-duration" => Some(text.parse::<Duration>().map(|_| text.to_owned()).map_err(|e| e.to_string())),
        "kfops-percent" => Some(text.parse::<Percent>().map(|_| text.to_owned()).map_err(|e| e.to_string())),
        "kfops-path" => Some(path::normalize(text)),
        _ => None,
    }
}
