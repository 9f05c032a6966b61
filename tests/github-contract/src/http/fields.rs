//! Fields that a request has and its description does not: GitHub ignores them, so that whoever sends them is mistaken.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::schemas::Schemas;

/// Pointers to the unknown fields of a value.
pub(crate) fn unknown(schemas: &Schemas, schema: &str, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(schema) = schemas.at(schema) {
        walk(schemas, &[schema], value, "", &mut found);
    }
    found
}

/// What the alternatives of a schema allow, taken together.
#[derive(Default)]
struct Allowed<'a> {
    properties: BTreeMap<&'a str, Vec<&'a Value>>,
    items: Vec<&'a Value>,
    open: bool,
}

impl<'a> Allowed<'a> {
    fn add(&mut self, schemas: &'a Schemas, schema: &'a Value) {
        let Some(schema) = schemas.follow(schema) else { return };
        let parts = ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|key| schema.get(key)?.as_array()).flatten();
        let mut described = false;
        for part in parts {
            described = true;
            self.add(schemas, part);
        }
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            described = true;
            self.properties.entry(name).or_default().push(property);
        }
        if let Some(items) = schema.get("items") {
            self.items.push(items);
        }
        let additional = schema.get("additionalProperties");
        let object = schema.get("type").is_none_or(|kind| kind == "object");
        self.open |= additional.is_some_and(|value| *value != Value::Bool(false)) || (object && !described);
    }
}

fn walk(schemas: &Schemas, alternatives: &[&Value], value: &Value, at: &str, found: &mut Vec<String>) {
    let mut allowed = Allowed::default();
    alternatives.iter().for_each(|schema| allowed.add(schemas, schema));
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let at = format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
                match allowed.properties.get(name.as_str()) {
                    Some(property) => walk(schemas, property, value, &at, found),
                    None if allowed.open => {}
                    None => found.push(at),
                }
            }
        }
        Value::Array(all) if !allowed.items.is_empty() => {
            for (index, value) in all.iter().enumerate() {
                walk(schemas, &allowed.items, value, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}
