//! The OpenAPI 3.1 document, from the same routes and descriptors that requests are transcoded with.

use serde_json::{Map, Value, json};

use super::{
    route::{BodyRule, Route, Routes},
    schema::{Schemas, behavior, comment, describe},
};

/// The document.
pub(super) fn document(routes: &Routes) -> Value {
    let mut schemas = Schemas::default();
    let mut paths = Map::new();
    let mut tags: Vec<Value> = Vec::new();
    for route in &routes.0 {
        let service = route.method.parent_service();
        if !tags.iter().any(|tag| tag["name"] == service.name()) {
            let mut tag = json!({"name": service.name()});
            describe(&mut tag, comment(&service.parent_file(), service.path()));
            tags.push(tag);
        }
        let (path, parameters) = route.template.openapi();
        let operation = operation(route, &parameters, &mut schemas);
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[route.verb.as_str().to_ascii_lowercase()] = operation;
    }
    schemas.0.insert("Error".into(), error_schema());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Kfops",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Commands: what people ask for in a pull request, with kfc or through this API.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": schemas.0,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        // Without tokens in the gateway's settings, callers on its own machine need none.
        "security": [{"bearer": []}, {}],
    })
}

fn operation(route: &Route, path_parameters: &[String], schemas: &mut Schemas) -> Value {
    let method = &route.method;
    let input = method.input();
    let mut parameters: Vec<Value> = path_parameters
        .iter()
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    let in_body = |name: &str| match &route.body {
        BodyRule::None => false,
        BodyRule::Whole => true,
        BodyRule::Field(field) => field == name,
    };
    for field in input.fields() {
        if in_body(field.name()) || route.template.fields().any(|name| name == field.name()) {
            continue;
        }
        let required = behavior(&field).iter().any(|b| b == "REQUIRED");
        let mut parameter = json!({
            "name": field.json_name(), "in": "query", "required": required, "schema": schemas.field(&field),
        });
        describe(&mut parameter, comment(&input.parent_file(), field.path()));
        parameters.push(parameter);
    }
    let output = schemas.message(&method.output());
    let content = if method.is_server_streaming() {
        json!({"application/x-ndjson": {"schema": output}, "text/event-stream": {"schema": output}})
    } else {
        json!({"application/json": {"schema": output}})
    };
    let mut operation = json!({
        "operationId": method.name(),
        "tags": [method.parent_service().name()],
        "parameters": parameters,
        "responses": {
            "200": {
                "description": if method.is_server_streaming() { "One message a line, until it ends." } else { "Done." },
                "content": content,
            },
            "default": {
                "description": "Not done: a google.rpc.Status.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    });
    describe(&mut operation, comment(&method.parent_service().parent_file(), method.path()));
    let body = match &route.body {
        BodyRule::None => None,
        // What the path gives need not stand in the body.
        BodyRule::Whole => {
            let fields = input.fields().filter(|field| !route.template.fields().any(|name| name == field.name()));
            let properties: Map<_, _> =
                fields.map(|field| (field.json_name().to_owned(), schemas.field(&field))).collect();
            Some((false, json!({"type": "object", "properties": properties})))
        }
        BodyRule::Field(field) => input.get_field_by_name(field).map(|field| (true, schemas.field(&field))),
    };
    if let Some((required, schema)) = body {
        operation["requestBody"] = json!({"required": required, "content": {"application/json": {"schema": schema}}});
    }
    operation
}

fn error_schema() -> Value {
    json!({
        "type": "object",
        "required": ["error"],
        "properties": {"error": {
            "type": "object",
            "required": ["code", "status", "message"],
            "properties": {
                "code": {"type": "integer", "description": "The HTTP status."},
                "status": {"type": "string", "description": "Name of the google.rpc.Code."},
                "message": {"type": "string", "description": "What happened."},
                "details": {
                    "type": "array",
                    "description": "google.rpc.ErrorInfo (its metadata has resource, action and log_tail), BadRequest, RetryInfo.",
                    "items": {"type": "object", "required": ["@type"], "properties": {"@type": {"type": "string"}}},
                },
            },
        }},
    })
}
