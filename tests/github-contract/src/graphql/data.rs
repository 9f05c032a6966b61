//! The data of an answer against what was selected.

use apollo_compiler::{
    ExecutableDocument, Schema,
    ast::Type,
    collections::IndexMap,
    executable::{Field, Operation, Selection, SelectionSet},
    schema::ExtendedType,
};
use serde_json::Value;

type Wrong<'a> = dyn FnMut(String, String) + 'a;

/// Says what is wrong with `data` of an answer.
pub(crate) fn check(
    schema: &Schema,
    document: &ExecutableDocument,
    operation: &Operation,
    body: &Value,
    wrong: &mut Wrong<'_>,
) {
    let walk = Walk { schema, document, errors: body.get("errors").is_some() };
    match body.get("data") {
        Some(data @ Value::Object(_)) => walk.object(&[&operation.selection_set], data, "/data", wrong),
        _ => wrong("/data".into(), "is not an object".into()),
    }
}

struct Walk<'a> {
    schema: &'a Schema,
    document: &'a ExecutableDocument,
    /// A field that failed is null whatever its type.
    errors: bool,
}

impl<'a> Walk<'a> {
    fn object(&self, sets: &[&'a SelectionSet], value: &Value, at: &str, wrong: &mut Wrong<'_>) {
        let Value::Object(map) = value else {
            return wrong(at.into(), format!("{} is not an object", short(value)));
        };
        let declared = sets.first().map(|set| &set.ty);
        let concrete = declared.and_then(|ty| match self.schema.types.get(ty) {
            Some(ExtendedType::Object(_)) => Some(ty.as_str()),
            _ => map.get("__typename").and_then(Value::as_str),
        });
        let mut fields: IndexMap<&str, Vec<&'a Field>> = IndexMap::default();
        let mut certain = Vec::new();
        for set in sets {
            self.collect(set, concrete, true, &mut fields, &mut certain);
        }
        for (name, fields) in &fields {
            let Some(field) = fields.first() else { continue };
            let at = format!("{at}/{name}");
            match map.get(*name) {
                None if certain.contains(name) => wrong(at, "was selected and is missing".into()),
                None => {}
                Some(value) => {
                    let sets: Vec<_> = fields.iter().map(|field| &field.selection_set).collect();
                    self.value(field.ty(), &sets, value, &at, wrong);
                }
            }
        }
        for name in map.keys().filter(|name| !fields.contains_key(name.as_str())) {
            wrong(format!("{at}/{name}"), "was not selected".into());
        }
    }

    /// The fields of a selection set for a type; without one, all that there could be, of which some are certain.
    fn collect(
        &self,
        set: &'a SelectionSet,
        concrete: Option<&str>,
        sure: bool,
        fields: &mut IndexMap<&'a str, Vec<&'a Field>>,
        certain: &mut Vec<&'a str>,
    ) {
        for selection in &set.selections {
            let conditional = !selection.directives().is_empty();
            let (condition, set) = match selection {
                Selection::Field(field) => {
                    let name = field.response_key().as_str();
                    fields.entry(name).or_default().push(field);
                    if sure && !conditional {
                        certain.push(name);
                    }
                    continue;
                }
                Selection::InlineFragment(fragment) => (fragment.type_condition.as_ref(), &fragment.selection_set),
                Selection::FragmentSpread(spread) => match self.document.fragments.get(&spread.fragment_name) {
                    Some(fragment) => (Some(fragment.type_condition()), &fragment.selection_set),
                    None => continue,
                },
            };
            let fits = match (condition, concrete) {
                (None, _) => Some(true),
                (Some(condition), Some(ty)) => Some(condition == ty || self.schema.is_subtype(condition, ty)),
                (Some(_), None) => None,
            };
            if fits != Some(false) {
                self.collect(set, concrete, sure && !conditional && fits == Some(true), fields, certain);
            }
        }
    }

    fn value(&self, ty: &Type, sets: &[&'a SelectionSet], value: &Value, at: &str, wrong: &mut Wrong<'_>) {
        if value.is_null() {
            if ty.is_non_null() && !self.errors {
                wrong(at.into(), format!("is null, but {ty}"));
            }
            return;
        }
        if let Type::List(item) | Type::NonNullList(item) = ty {
            let Value::Array(all) = value else {
                return wrong(at.into(), format!("{} is not a list ({ty})", short(value)));
            };
            for (index, value) in all.iter().enumerate() {
                self.value(item, sets, value, &format!("{at}/{index}"), wrong);
            }
            return;
        }
        let name = ty.inner_named_type();
        let fits = match self.schema.types.get(name) {
            Some(ExtendedType::Enum(one)) => value.as_str().is_some_and(|value| one.values.contains_key(value)),
            Some(ExtendedType::Scalar(_)) => scalar(name, value),
            Some(_) => return self.object(sets, value, at, wrong),
            None => true,
        };
        if !fits {
            wrong(at.into(), format!("{} is not of type {ty}", short(value)));
        }
    }
}

/// GitHub's own scalars are strings: DateTime, URI, GitObjectID, Base64String and the like.
fn scalar(name: &str, value: &Value) -> bool {
    match name {
        "Int" => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        "Float" => value.is_number(),
        "Boolean" => value.is_boolean(),
        "BigInt" => value.is_string() || value.is_i64() || value.is_u64(),
        "GitObjectID" => value.as_str().is_some_and(|id| id.len() == 40 && id.bytes().all(|b| b.is_ascii_hexdigit())),
        "DateTime" => value.as_str().is_some_and(|time| time.len() >= 20 && time.contains('T') && time.ends_with('Z')),
        "URI" => value.as_str().is_some_and(|uri| uri.contains(':')),
        _ => value.is_string(),
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}
