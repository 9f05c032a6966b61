//! Validators, compiled when first needed from the part of a document that they reach.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use jsonschema::{Draft, ValidationError, Validator, error::ValidationErrorKind};
use serde_json::{Map, Value};

use crate::dialect::{draft7, references};

/// More errors of one body say nothing new.
const MOST: usize = 30;

/// The schemas of one document.
#[derive(Debug)]
pub(crate) struct Schemas {
    root: Value,
    convert: fn(&Value) -> Value,
    compiled: Mutex<HashMap<String, Arc<Validator>>>,
}

impl Schemas {
    /// Of an OpenAPI 3.0 document.
    pub(crate) fn openapi(root: Value) -> Self {
        Self { root, convert: draft7, compiled: Mutex::default() }
    }

    /// Of a JSON schema, draft 7.
    pub(crate) fn plain(root: Value) -> Self {
        Self { root, convert: Value::clone, compiled: Mutex::default() }
    }

    /// What a JSON pointer leads to, through references.
    pub(crate) fn at(&self, pointer: &str) -> Option<&Value> {
        follow(&self.root, self.root.pointer(pointer.trim_start_matches('#'))?)
    }

    /// Where a reference at this place leads.
    pub(crate) fn resolve(&self, pointer: &str) -> String {
        let value = self.root.pointer(pointer.trim_start_matches('#'));
        match value.and_then(|value| value.get("$ref")).and_then(Value::as_str) {
            Some(reference) => self.resolve(reference),
            None => pointer.to_owned(),
        }
    }

    /// What a value means, if it is a reference.
    pub(crate) fn follow<'a>(&'a self, value: &'a Value) -> Option<&'a Value> {
        follow(&self.root, value)
    }

    /// What is wrong with a value: pointers and words. `pointer` names the schema.
    pub(crate) fn check(&self, pointer: &str, value: &Value) -> Vec<(String, String)> {
        let validator = match self.validator(pointer) {
            Ok(validator) => validator,
            Err(error) => return vec![(String::new(), format!("the schema {pointer} cannot be used: {error}"))],
        };
        let mut found = Vec::new();
        for error in validator.iter_errors(value) {
            explain(&error, &mut found);
        }
        found.truncate(MOST);
        found
    }

    fn validator(&self, pointer: &str) -> Result<Arc<Validator>, String> {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(validator) = compiled.get(pointer) {
            return Ok(Arc::clone(validator));
        }
        let schema = self.part(pointer).ok_or("there is none")?;
        let validator = jsonschema::options()
            .with_draft(Draft::Draft7)
            .should_validate_formats(true)
            .should_ignore_unknown_formats(true)
            .build(&schema)
            .map_err(|error| error.to_string())?;
        let validator = Arc::new(validator);
        compiled.insert(pointer.to_owned(), Arc::clone(&validator));
        Ok(validator)
    }

    /// A schema with everything that it refers to, at the places where its references look for it.
    fn part(&self, pointer: &str) -> Option<Value> {
        let start = self.root.pointer(pointer.trim_start_matches('#'))?;
        let mut whole = Map::new();
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut open = Vec::new();
        references(start, &mut open);
        while let Some(reference) = open.pop() {
            if !seen.insert(reference) {
                continue;
            }
            let target = self.root.pointer(reference.trim_start_matches('#'))?;
            references(target, &mut open);
            put(&mut whole, reference.trim_start_matches("#/"), (self.convert)(target));
        }
        whole.insert("allOf".into(), Value::Array(vec![(self.convert)(start)]));
        Some(Value::Object(whole))
    }
}

fn follow<'a>(root: &'a Value, value: &'a Value) -> Option<&'a Value> {
    match value.get("$ref").and_then(Value::as_str) {
        Some(reference) => follow(root, root.pointer(reference.trim_start_matches('#'))?),
        None => Some(value),
    }
}

fn put(map: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('/') {
        None => drop(map.insert(path.replace("~1", "/").replace("~0", "~"), value)),
        Some((first, rest)) => {
            let below = map.entry(first).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(below) = below {
                put(below, rest, value);
            }
        }
    }
}

/// Of alternatives, the one that fits best says what is wrong.
fn explain(error: &ValidationError<'_>, found: &mut Vec<(String, String)>) {
    if let ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } = error.kind() {
        let here = error.instance_path().as_str();
        let not_at_all = |branch: &[ValidationError<'_>]| {
            branch
                .iter()
                .any(|e| e.instance_path().as_str() == here && matches!(e.kind(), ValidationErrorKind::Type { .. }))
        };
        let best = context.iter().min_by_key(|branch| (not_at_all(branch), branch.len()));
        if let Some(branch) = best.filter(|branch| !branch.is_empty() && !not_at_all(branch)) {
            branch.iter().for_each(|error| explain(error, found));
            return;
        }
    }
    found.push((error.instance_path().as_str().to_owned(), error.to_string()));
}
