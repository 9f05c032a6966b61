//! From path, query and body to the message.

use kfops_core::{Failure, Reason};
use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor};
use serde::de::IntoDeserializer as _;
use serde_json::{Map, Value};

use super::{
    query,
    route::{BodyRule, Match},
};

/// Puts the message of a call together. Unknown fields and wrong types are refused by name.
pub(super) fn message(found: &Match<'_>, query: &str, body: Option<Value>) -> Result<DynamicMessage, Failure> {
    let input = found.route.method.input();
    let mut taken: Vec<String> = found.variables.iter().map(|(field, _)| (*field).to_owned()).collect();
    let mut object = Map::new();
    match (&found.route.body, body) {
        (BodyRule::None, Some(_)) => return Err(Failure::new(Reason::InvalidArgument, "there is no body here")),
        (BodyRule::None, None) | (BodyRule::Whole, None) => {}
        (BodyRule::Whole, Some(Value::Object(body))) => object = body,
        (BodyRule::Whole, Some(_)) => return Err(Failure::new(Reason::InvalidArgument, "the body is not an object")),
        (BodyRule::Field(field), Some(body)) => {
            object.insert(field.clone(), body);
        }
        (BodyRule::Field(field), None) => {
            return Err(Failure::new(Reason::InvalidArgument, format!("the body is missing: the {field}")).on(field));
        }
    }
    match &found.route.body {
        // Everything else is in the body: no parameter is left for the query.
        BodyRule::Whole => taken.extend(input.fields().map(|field| field.name().to_owned())),
        BodyRule::Field(field) => taken.push(field.clone()),
        BodyRule::None => {}
    }
    query::add(&mut object, &input, query, &taken)?;
    for (field, value) in &found.variables {
        // The path wins over a body that says it too.
        if let Some(field) = input.get_field_by_name(field) {
            object.remove(field.name());
            object.remove(field.json_name());
            object.insert(field.json_name().to_owned(), Value::String(value.clone()));
        }
    }
    decode(input, object)
}

fn decode(input: MessageDescriptor, object: Map<String, Value>) -> Result<DynamicMessage, Failure> {
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let value = Value::Object(object);
    DynamicMessage::deserialize_with_options(input, value.into_deserializer(), &options).map_err(|error| {
        let message: String = error.to_string().chars().take(500).collect();
        Failure::new(Reason::InvalidArgument, message).action("see /openapi.json for the fields and their types")
    })
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::json;

    use super::{
        super::route::{Lookup, commands},
        *,
    };

    fn ask(verb: &Method, target: &str, body: Option<Value>) -> Result<Value, String> {
        let routes = commands();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let Lookup::Found(found) = routes.find(verb, path) else { panic!("no route at {path}") };
        let message = message(&found, query, body).map_err(|failure| failure.message)?;
        Ok(serde_json::to_value(message).unwrap())
    }

    #[test]
    fn a_field_as_body_and_the_rest_in_the_query() {
        let body = json!({"verb": "VERB_RUN", "repository": "o/r", "pull_request": 7, "arguments": ["--set", "a=1"]});
        let got = ask(&Method::POST, "/v1/commands?command_id=c-1", Some(body)).unwrap();
        let command =
            json!({"verb": "VERB_RUN", "repository": "o/r", "pullRequest": "7", "arguments": ["--set", "a=1"]});
        assert_eq!(got, json!({"commandId": "c-1", "command": command}));
        let got = ask(&Method::POST, "/v1/commands?commandId=c-1", Some(json!({}))).unwrap();
        assert_eq!(got, json!({"commandId": "c-1", "command": {}}));
    }

    #[test]
    fn the_path_wins_and_an_empty_body_will_do() {
        let got = ask(&Method::POST, "/v1/commands/a:cancel", Some(json!({"name": "commands/b"}))).unwrap();
        assert_eq!(got, json!({"name": "commands/a"}));
        assert_eq!(ask(&Method::POST, "/v1/commands/a:cancel", None).unwrap(), json!({"name": "commands/a"}));
    }

    #[test]
    fn parameters_by_type() {
        let got = ask(&Method::GET, "/v1/commands?pageSize=3&pull_request=7&repository=o%2Fr", None).unwrap();
        assert_eq!(got, json!({"pageSize": 3, "pullRequest": "7", "repository": "o/r"}));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let get = |target: &str| ask(&Method::GET, target, None).unwrap_err();
        assert!(get("/v1/commands?page_sise=3").contains("page_sise"));
        assert!(get("/v1/commands?page_size=three").contains("whole number"));
        assert!(get("/v1/commands?page_size=1&pageSize=2").contains("twice"));
        assert!(get("/v1/commands/a?name=commands/b").contains("name"));
        assert!(get("/v1/commands?repository=%ff").contains("percent-encoding"));
        let post = |body: Value| ask(&Method::POST, "/v1/commands?command_id=c", Some(body)).unwrap_err();
        assert!(post(json!({"vreb": "VERB_RUN"})).contains("vreb"));
        assert!(post(json!({"verb": "VERB_BURN"})).contains("VERB_BURN"));
        assert!(!post(json!({"pullRequest": "x"})).is_empty());
        assert!(!post(json!([])).is_empty());
        assert!(ask(&Method::POST, "/v1/commands?command_id=c", None).unwrap_err().contains("missing"));
        assert!(ask(&Method::POST, "/v1/commands/a:cancel?x=1", None).unwrap_err().contains('x'));
        assert!(ask(&Method::GET, "/v1/commands/a", Some(json!({}))).unwrap_err().contains("no body"));
    }
}
