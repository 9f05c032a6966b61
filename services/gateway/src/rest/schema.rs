//! JSON schemas of messages and enums, with the protos' comments.

use prost_reflect::{EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor, Value as Reflected};
use serde_json::{Map, Value, json};

/// Schemas collected while they are referred to.
#[derive(Default)]
pub(super) struct Schemas(pub(super) Map<String, Value>);

impl Schemas {
    /// A reference to a message's schema; its schema is collected.
    pub(super) fn message(&mut self, message: &MessageDescriptor) -> Value {
        match message.full_name() {
            "google.protobuf.Timestamp" => json!({"type": "string", "format": "date-time"}),
            "google.protobuf.Duration" => json!({"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]{1,9})?s$"}),
            "google.protobuf.Struct" => json!({"type": "object"}),
            _ => {
                let name = message.name().to_owned();
                if !self.0.contains_key(&name) {
                    // Before the fields, so that a message that holds itself ends.
                    self.0.insert(name.clone(), Value::Null);
                    let schema = self.object(message);
                    self.0.insert(name.clone(), schema);
                }
                json!({"$ref": format!("#/components/schemas/{name}")})
            }
        }
    }

    fn object(&mut self, message: &MessageDescriptor) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for field in message.fields() {
            let mut schema = self.field(&field);
            let behavior = behavior(&field);
            if behavior.contains(&"REQUIRED".to_owned()) {
                required.push(Value::from(field.json_name()));
            }
            if behavior.contains(&"OUTPUT_ONLY".to_owned()) {
                schema["readOnly"] = true.into();
            }
            describe(&mut schema, comment(&field.parent_message().parent_file(), field.path()));
            properties.insert(field.json_name().to_owned(), schema);
        }
        let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
        if !required.is_empty() {
            schema["required"] = required.into();
        }
        describe(&mut schema, comment(&message.parent_file(), message.path()));
        schema
    }

    /// The schema of a field.
    pub(super) fn field(&mut self, field: &FieldDescriptor) -> Value {
        if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
            let value = self.kind(&entry.map_entry_value_field().kind());
            return json!({"type": "object", "additionalProperties": value});
        }
        let schema = self.kind(&field.kind());
        if field.is_list() { json!({"type": "array", "items": schema}) } else { schema }
    }

    fn kind(&mut self, kind: &Kind) -> Value {
        match kind {
            Kind::Bool => json!({"type": "boolean"}),
            Kind::String => json!({"type": "string"}),
            Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
            Kind::Double => json!({"type": "number", "format": "double"}),
            Kind::Float => json!({"type": "number", "format": "float"}),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => json!({"type": "integer", "format": "int32"}),
            Kind::Uint32 | Kind::Fixed32 => json!({"type": "integer", "format": "uint32", "minimum": 0}),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => json!({"type": "string", "format": "int64"}),
            Kind::Uint64 | Kind::Fixed64 => json!({"type": "string", "format": "uint64"}),
            Kind::Message(message) => self.message(message),
            Kind::Enum(kind) => self.enumeration(kind),
        }
    }

    fn enumeration(&mut self, kind: &EnumDescriptor) -> Value {
        let name = kind.name().to_owned();
        let values: Vec<_> = kind.values().map(|value| Value::from(value.name())).collect();
        let mut schema = json!({"type": "string", "enum": values});
        describe(&mut schema, comment(&kind.parent_file(), kind.path()));
        self.0.insert(name.clone(), schema);
        json!({"$ref": format!("#/components/schemas/{name}")})
    }
}

/// `google.api.field_behavior`, by name.
pub(super) fn behavior(field: &FieldDescriptor) -> Vec<String> {
    let pool = field.parent_pool();
    let Some(extension) = pool.get_extension_by_name("google.api.field_behavior") else { return Vec::new() };
    let Some(names) = pool.get_enum_by_name("google.api.FieldBehavior") else { return Vec::new() };
    let options = field.options();
    let values = options.get_extension(&extension);
    let numbers = values.as_list().unwrap_or_default().iter().filter_map(Reflected::as_enum_number);
    numbers.filter_map(|number| names.get_value(number)).map(|value| value.name().to_owned()).collect()
}

/// The comment above something in a proto.
pub(super) fn comment(file: &FileDescriptor, path: &[i32]) -> Option<String> {
    let info = file.file_descriptor_proto().source_code_info.as_ref()?;
    let text = info.location.iter().find(|location| location.path == path)?.leading_comments.as_deref()?;
    let text = text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    (!text.trim().is_empty()).then(|| text.trim().to_owned())
}

/// Adds a description. Beside a `$ref` it is allowed since OpenAPI 3.1.
pub(super) fn describe(schema: &mut Value, text: Option<String>) {
    if let Some(text) = text {
        schema["description"] = text.into();
    }
}
