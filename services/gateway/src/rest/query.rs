//! Query parameters: field paths with values, by the type of the field.

use kfops_core::{Failure, Reason};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

/// Most parameters of a request.
const MOST: usize = 200;

/// Adds the parameters of `query` to `object`, the JSON of a message of type `of`. Fields in `taken` are given by
/// the path or the body.
pub(super) fn add(
    object: &mut Map<String, Value>,
    of: &MessageDescriptor,
    query: &str,
    taken: &[String],
) -> Result<(), Failure> {
    for (count, pair) in query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
        if count == MOST {
            return Err(wrong("query", &format!("the query has more than {MOST} parameters")));
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let unreadable = || wrong("query", "the query is not UTF-8 in percent-encoding");
        let name = decode(name).ok_or_else(unreadable)?;
        let value = decode(value).ok_or_else(unreadable)?;
        set(object, of, &name, &name, value, taken)?;
    }
    Ok(())
}

fn set(
    object: &mut Map<String, Value>,
    of: &MessageDescriptor,
    whole: &str,
    path: &str,
    value: String,
    taken: &[String],
) -> Result<(), Failure> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let field = of
        .get_field_by_name(first)
        .or_else(|| of.get_field_by_json_name(first))
        .filter(|field| !taken.iter().any(|taken| taken == field.name()))
        .ok_or_else(|| wrong(whole, &format!("there is no query parameter {}", short(whole))))?;
    let key = field.json_name().to_owned();
    match (rest, field.kind()) {
        (Some(rest), Kind::Message(message)) if !field.is_list() && !field.is_map() => {
            let inner = object.entry(key).or_insert_with(|| Value::Object(Map::new()));
            match inner {
                Value::Object(inner) => set(inner, &message, whole, rest, value, &[]),
                _ => Err(wrong(whole, &format!("the query parameter {} is given twice", short(whole)))),
            }
        }
        (Some(_), _) => Err(wrong(whole, &format!("there is no query parameter {}", short(whole)))),
        (None, _) if field.is_map() => Err(wrong(whole, "maps cannot be given in the query")),
        (None, _) => {
            let value = json(&field, whole, value)?;
            if field.is_list() {
                match object.entry(key).or_insert_with(|| Value::Array(Vec::new())) {
                    Value::Array(list) => list.push(value),
                    other => *other = value,
                }
                return Ok(());
            }
            match object.insert(key, value) {
                None => Ok(()),
                Some(_) => Err(wrong(whole, &format!("the query parameter {} is given twice", short(whole)))),
            }
        }
    }
}

/// The text as proto3's JSON mapping has it: numbers may be strings there, only truth values may not.
fn json(field: &FieldDescriptor, whole: &str, value: String) -> Result<Value, Failure> {
    let wrong_type = |what: &str| wrong(whole, &format!("the query parameter {} is not {what}", short(whole)));
    match field.kind() {
        Kind::Bool => value.parse().map(Value::Bool).map_err(|_| wrong_type("true or false")),
        Kind::Enum(_) => Ok(value.parse::<i32>().map_or(Value::String(value), Value::from)),
        Kind::Message(message) if !message.full_name().starts_with("google.protobuf.") => {
            Err(wrong_type("a field of a simple type"))
        }
        Kind::Int32 | Kind::Int64 | Kind::Sint32 | Kind::Sint64 | Kind::Sfixed32 | Kind::Sfixed64
            if value.parse::<i64>().is_err() =>
        {
            Err(wrong_type("a whole number"))
        }
        Kind::Uint32 | Kind::Uint64 | Kind::Fixed32 | Kind::Fixed64 if value.parse::<u64>().is_err() => {
            Err(wrong_type("a whole number"))
        }
        _ => Ok(Value::String(value)),
    }
}

fn wrong(parameter: &str, message: &str) -> Failure {
    Failure::new(Reason::InvalidArgument, message).on(short(parameter))
}

fn short(text: &str) -> String {
    text.chars().take(100).collect()
}

/// `application/x-www-form-urlencoded`.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'+' => bytes.push(b' '),
            b'%' => {
                let mut byte = [0];
                hex::decode_to_slice(rest.get(..2)?, &mut byte).ok()?;
                bytes.push(byte[0]);
                rest = &rest[2..];
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).ok()
}
