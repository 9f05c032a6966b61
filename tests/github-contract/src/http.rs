//! Requests to the REST API and their answers.

mod fields;

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::{
    document::{Document, Found},
    exchange::HttpExchange,
    graphql::GraphQl,
    known,
    schemas::Schemas,
    violation::{Side, Violation},
};

/// One check.
pub(crate) struct Check<'a> {
    pub(crate) document: &'a Document,
    pub(crate) schemas: &'a Schemas,
    pub(crate) graphql: &'a GraphQl,
}

impl Check<'_> {
    pub(crate) fn run(&self, exchange: &HttpExchange) -> Vec<Violation> {
        if matches!(exchange.path.as_str(), "/graphql" | "/api/graphql") {
            return self.graphql.check(exchange);
        }
        let path = exchange.path.strip_prefix("/api/v3").unwrap_or(&exchange.path);
        let Some(found) = self.document.find(&exchange.method, path) else {
            // An answer of "there is no such thing" is right then; the request is not.
            let what = match self.document.template(path) {
                Some(template) => format!("{template} has no method {}", exchange.method),
                None => "there is no such path".to_owned(),
            };
            return vec![Violation::new(Side::Request, format!("{} {path}", exchange.method), "path", what)];
        };
        let mut violations = Vec::new();
        self.request(exchange, &found, &mut violations);
        if exchange.status != 0 {
            self.answer(exchange, &found, &mut violations);
        }
        violations
    }

    fn request(&self, exchange: &HttpExchange, found: &Found<'_>, violations: &mut Vec<Violation>) {
        let name = &found.operation.name;
        let mut wrong = |at: String, what: String| violations.push(Violation::new(Side::Request, name, at, what));
        let query: Vec<(String, String)> =
            exchange.query.split('&').filter(|part| !part.is_empty()).map(pair).collect();
        let mut known_names = Vec::new();
        for pointer in &found.operation.parameters {
            let pointer = self.resolve(pointer);
            let Some(parameter) = self.schemas.at(&pointer) else { continue };
            let (name, place) = (text(&parameter["name"]), text(&parameter["in"]));
            let values: Vec<&str> = match place {
                "path" => found.values.iter().filter(|(n, _)| *n == name).map(|(_, v)| v.as_str()).collect(),
                "query" => query.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect(),
                _ => continue,
            };
            known_names.push(name);
            if values.is_empty() && parameter["required"] == true && place == "query" {
                wrong(format!("{place} {name}"), "is missing".into());
            }
            let schema = self.resolve(&format!("{pointer}/schema"));
            for value in values {
                let typed = self.typed(&schema, value);
                for (at, what) in self.schemas.check(&schema, &typed) {
                    wrong(format!("{place} {name}{at}"), what);
                }
            }
        }
        for (name, value) in &query {
            if !known_names.contains(&name.as_str()) {
                wrong(format!("query {name}"), "the operation has no such parameter".into());
            }
            if name == "per_page" && value.parse::<u64>().is_ok_and(|size| size > known::LARGEST_PAGE) {
                wrong("query per_page".into(), format!("{value} is more than {}", known::LARGEST_PAGE));
            }
        }
        if let Some(version) = exchange.api_version.as_deref().filter(|one| !known::API_VERSIONS.contains(one)) {
            wrong("header X-GitHub-Api-Version".into(), format!("{version} is no version"));
        }
        self.request_body(exchange, found, &mut wrong);
    }

    fn request_body(&self, exchange: &HttpExchange, found: &Found<'_>, wrong: &mut impl FnMut(String, String)) {
        let body = &exchange.request_body;
        let pointer = self.resolve(&format!("{}/requestBody", found.operation.pointer));
        let Some(described) = self.schemas.at(&pointer) else {
            // octocrab sends `null` or `{}` where nothing is asked for; GitHub reads neither.
            if !body.is_null() && body.as_object().is_none_or(|map| !map.is_empty()) {
                wrong(String::new(), "the operation takes no body".into());
            }
            return;
        };
        if body.is_null() {
            if described["required"] == true {
                wrong(String::new(), "the body is missing".into());
            }
            return;
        }
        if let Some(kind) = &exchange.request_content_type
            && described["content"].get(media(kind)).is_none()
        {
            wrong("header Content-Type".into(), format!("{kind} is not described"));
        }
        let schema = format!("{pointer}/content/application~1json/schema");
        if self.schemas.at(&schema).is_none() {
            return;
        }
        for (at, what) in self.schemas.check(&schema, body) {
            wrong(at, what);
        }
        for at in fields::unknown(self.schemas, &schema, body) {
            wrong(at, "the operation has no such field".into());
        }
    }

    fn answer(&self, exchange: &HttpExchange, found: &Found<'_>, violations: &mut Vec<Violation>) {
        let status = exchange.status;
        let name = format!("{} ({status})", found.operation.name);
        let mut wrong = |at: String, what: String| violations.push(Violation::new(Side::Answer, &name, at, what));
        let body = &exchange.response_body;
        let pointer = self.resolve(&format!("{}/responses/{status}", found.operation.pointer));
        let Some(described) = self.schemas.at(&pointer) else {
            if known::undocumented(status).is_none() {
                wrong("status".into(), "the operation has no such status".into());
            } else if status >= 400 {
                self.schemas.check(known::ERROR, body).into_iter().for_each(|(at, what)| wrong(at, what));
            }
            return;
        };
        let content = described.get("content").and_then(Value::as_object);
        let Some(content) = content.filter(|content| !content.is_empty()) else {
            // What a redirect says to people is described nowhere.
            if !body.is_null() && status < 300 {
                wrong(String::new(), "the answer has no body".into());
            }
            return;
        };
        let kind = exchange.response_content_type.as_deref().map_or("application/json", media);
        if !is_json(kind) {
            let asked = exchange.accept.as_deref().is_none_or(|accept| accept.contains("vnd.github."));
            if !content.contains_key(kind) && !asked {
                wrong("header Content-Type".into(), format!("{kind} is neither described nor asked for"));
            }
            return;
        }
        let key = [kind, "application/json"].into_iter().find(|key| content.contains_key(*key));
        let key = key.or_else(|| content.keys().map(String::as_str).find(|key| is_json(key)));
        let Some(key) = key else { return };
        let schema = format!("{pointer}/content/{}/schema", key.replace('~', "~0").replace('/', "~1"));
        if self.schemas.at(&schema).is_some() {
            self.schemas.check(&schema, body).into_iter().for_each(|(at, what)| wrong(at, what));
        }
    }

    /// Where a reference at this place leads.
    fn resolve(&self, pointer: &str) -> String {
        self.schemas.resolve(pointer)
    }

    /// A parameter's text as the value that its schema means.
    fn typed(&self, schema: &str, text: &str) -> Value {
        let kind = self.schemas.at(schema).and_then(|schema| schema["type"].as_str());
        let parsed = || serde_json::from_str::<Value>(text).ok();
        match kind {
            Some("integer" | "number") => parsed().filter(Value::is_number),
            Some("boolean") => parsed().filter(Value::is_boolean),
            Some("array") => Some(text.split(',').map(Value::from).collect()),
            // One of several types: a number if it is one.
            None => parsed().filter(Value::is_number),
            _ => None,
        }
        .unwrap_or_else(|| Value::from(text))
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn pair(part: &str) -> (String, String) {
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let (name, value) = part.split_once('=').unwrap_or((part, ""));
    (decode(name), decode(value))
}

fn media(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

pub(crate) fn is_json(kind: &str) -> bool {
    let kind = media(kind);
    kind.ends_with("/json") || kind.ends_with("+json")
}
