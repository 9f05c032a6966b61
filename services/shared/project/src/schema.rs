//! The JSON schema of `kfops.yaml`, made from the types.

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::Value;

use crate::types::Project;

/// The JSON schema (draft 2020-12), as committed in `docs/kfops.schema.json`.
#[must_use]
pub fn json_schema() -> Value {
    let schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Project>();
    let mut value = schema.to_value();
    if let Some(object) = value.as_object_mut() {
        object.insert("title".to_owned(), "kfops.yaml".into());
    }
    value
}

/// The same without references, for reading.
pub(crate) fn inlined<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// A list of paths.
pub(crate) fn paths(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "items": {"type": "string", "format": "kfops-path"}})
}
