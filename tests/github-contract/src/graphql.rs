//! GraphQL requests and the data of their answers.

mod data;

use std::{path::PathBuf, sync::OnceLock};

use apollo_compiler::{
    ExecutableDocument, Schema, request::coerce_variable_values, response::JsonMap, validation::Valid,
};
use serde_json::Value;

use crate::{
    exchange::HttpExchange,
    violation::{Side, Violation},
};

/// The schema, read when first needed.
#[derive(Debug)]
pub(crate) struct GraphQl {
    file: PathBuf,
    schema: OnceLock<Result<Valid<Schema>, String>>,
}

impl GraphQl {
    pub(crate) const fn new(file: PathBuf) -> Self {
        Self { file, schema: OnceLock::new() }
    }

    fn schema(&self) -> Result<&Valid<Schema>, &String> {
        let read = || {
            let text =
                std::fs::read_to_string(&self.file).map_err(|error| format!("{}: {error}", self.file.display()))?;
            // What GitHub publishes breaks a rule of GraphQL now and then: a field that is there twice.
            Ok(match Schema::parse_and_validate(text, "schema.graphql") {
                Ok(schema) => schema,
                Err(with) => Valid::assume_valid(with.partial),
            })
        };
        self.schema.get_or_init(read).as_ref()
    }

    pub(crate) fn check(&self, exchange: &HttpExchange) -> Vec<Violation> {
        let asked = |at: &str, what: String| vec![Violation::new(Side::Request, "POST /graphql", at, what)];
        let schema = match self.schema() {
            Ok(schema) => schema,
            Err(error) => return asked("schema", error.clone()),
        };
        if exchange.method != "POST" {
            return asked("method", format!("{} instead of POST", exchange.method));
        }
        let body = &exchange.request_body;
        let Some(query) = body["query"].as_str() else { return asked("/query", "is missing".into()) };
        let document = match ExecutableDocument::parse_and_validate(schema, query, "query.graphql") {
            Ok(document) => document,
            Err(with) => return with.errors.iter().flat_map(|one| asked("/query", one.error.to_string())).collect(),
        };
        let operation = match document.operations.get(body["operationName"].as_str()) {
            Ok(operation) => operation,
            Err(error) => return asked("/operationName", error.message().to_string()),
        };
        let name = format!("POST /graphql {}", operation.name.as_ref().map_or("", |name| name.as_str()));
        let mut violations = Vec::new();
        let variables = match &body["variables"] {
            Value::Null => Ok(JsonMap::new()),
            variables => serde_json::from_value(variables.clone()).map_err(|error| error.to_string()),
        };
        let coerced = variables.and_then(|variables| {
            let known = |name: &str| operation.variables.iter().any(|one| one.name == name);
            if let Some(name) = variables.keys().map(|name| name.as_str()).find(|name| !known(name)) {
                return Err(format!("the operation has no variable {name}"));
            }
            coerce_variable_values(schema, operation, &variables).map_err(|error| error.message().to_string())
        });
        if let Err(what) = coerced {
            violations.push(Violation::new(Side::Request, &name, "/variables", what));
        }
        self.answer(exchange, &name, violations, |wrong| {
            data::check(schema, &document, operation, &exchange.response_body, wrong);
        })
    }

    fn answer(
        &self,
        exchange: &HttpExchange,
        name: &str,
        mut violations: Vec<Violation>,
        data: impl FnOnce(&mut dyn FnMut(String, String)),
    ) -> Vec<Violation> {
        let mut wrong = |at: String, what: String| {
            violations.push(Violation::new(Side::Answer, format!("{name} ({})", exchange.status), at, what));
        };
        let body = &exchange.response_body;
        match exchange.status {
            0 => {}
            200 => {
                let errors = body.get("errors");
                let described = errors.is_none_or(|errors| {
                    errors
                        .as_array()
                        .is_some_and(|all| !all.is_empty() && all.iter().all(|one| one["message"].is_string()))
                });
                if !described {
                    wrong("/errors".into(), "is not a list of errors with messages".into());
                }
                match body.get("data") {
                    None if errors.is_some() => {}
                    Some(Value::Null) if errors.is_some() => {}
                    _ => data(&mut wrong),
                }
            }
            401 | 403 | 429 | 500..=599 => {}
            status => wrong("status".into(), format!("GitHub answers 200 with errors, not {status}")),
        }
        violations
    }
}
