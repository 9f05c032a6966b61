//! OpenAPI 3.0 schemas as JSON Schema (draft 7).

use serde_json::{Map, Value, json};

/// The same schema in draft 7: `nullable` becomes a type. GitHub writes it beside `oneOf` and the like, too, where
/// OpenAPI gives it no meaning; what is meant is plain. Its alternatives overlap (`oneOf` with discriminators that are
/// not in the data): one that fits is enough.
pub(crate) fn draft7(schema: &Value) -> Value {
    let Value::Object(schema) = schema else { return schema.clone() };
    if let Some(reference) = schema.get("$ref") {
        return or_null(json!({ "$ref": reference }), schema);
    }
    let mut converted = Map::new();
    for (key, value) in schema {
        match key.as_str() {
            "properties" | "patternProperties" => {
                let all = value.as_object().into_iter().flatten();
                let all = all.map(|(name, schema)| (name.clone(), draft7(schema))).collect();
                converted.insert(key.clone(), Value::Object(all));
            }
            "items" | "additionalProperties" | "not" => drop(converted.insert(key.clone(), draft7(value))),
            "allOf" | "anyOf" | "oneOf" => {
                let all = value.as_array().into_iter().flatten().map(draft7).collect();
                converted.insert(if key == "allOf" { "allOf" } else { "anyOf" }.into(), Value::Array(all));
            }
            "type" | "enum" | "required" | "format" | "pattern" | "minimum" | "maximum" | "minLength" | "maxLength"
            | "minItems" | "maxItems" | "uniqueItems" | "minProperties" | "maxProperties" | "multipleOf" => {
                converted.insert(key.clone(), value.clone());
            }
            _ => {}
        }
    }
    or_null(Value::Object(converted), schema)
}

fn or_null(converted: Value, schema: &Map<String, Value>) -> Value {
    if schema.get("nullable") == Some(&Value::Bool(true)) {
        json!({ "anyOf": [converted, { "type": "null" }] })
    } else {
        converted
    }
}

/// Every `$ref` below a value.
pub(crate) fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                found.push(reference);
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(all) => all.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nullable_is_a_type() {
        let schema = json!({
            "type": "object",
            "example": {"nullable": true},
            "properties": {
                "nullable": {"type": "boolean"},
                "a": {"type": "string", "enum": ["x"], "nullable": true},
                "b": {"$ref": "#/x", "nullable": true, "type": "string"},
                "c": {"nullable": true, "oneOf": [{"type": "array", "items": {"type": "integer", "nullable": true}}]},
            },
        });
        let none = json!({"type": "null"});
        let expected = json!({
            "type": "object",
            "properties": {
                "nullable": {"type": "boolean"},
                "a": {"anyOf": [{"type": "string", "enum": ["x"]}, none]},
                "b": {"anyOf": [{"$ref": "#/x"}, none]},
                "c": {"anyOf": [
                    {"anyOf": [{"type": "array", "items": {"anyOf": [{"type": "integer"}, none]}}]},
                    none
                ]},
            },
        });
        assert_eq!(draft7(&schema), expected);
    }
}
