//! The operations of an OpenAPI document, found by method and path.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context as _, Result};
use percent_encoding::percent_decode_str;
use serde_json::Value;

/// The operations.
#[derive(Debug)]
pub(crate) struct Document {
    /// By the number of their literal segments, most first.
    routes: Vec<Route>,
    first: BTreeSet<String>,
}

#[derive(Debug)]
struct Route {
    template: String,
    segments: Vec<Segment>,
    methods: HashMap<String, Operation>,
}

#[derive(Debug)]
enum Segment {
    Literal(String),
    Name(String),
    /// May hold slashes.
    Rest(String),
}

/// One operation.
#[derive(Debug)]
pub(crate) struct Operation {
    /// Method and path template.
    pub(crate) name: String,
    /// Where it stands in the document.
    pub(crate) pointer: String,
    /// Where its parameters stand, those of its path first.
    pub(crate) parameters: Vec<String>,
}

/// An operation with what the path says.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    pub(crate) operation: &'a Operation,
    pub(crate) values: Vec<(&'a str, String)>,
}

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

impl Document {
    pub(crate) fn new(root: &Value) -> Result<Self> {
        let paths = root["paths"].as_object().context("no paths")?;
        let mut routes: Vec<Route> = paths.iter().map(|(template, item)| route(root, template, item)).collect();
        routes.sort_by_key(|route| {
            let literal = route.segments.iter().filter(|one| matches!(one, Segment::Literal(_))).count();
            std::cmp::Reverse(literal)
        });
        let first = routes.iter().filter_map(|route| match route.segments.first() {
            Some(Segment::Literal(name)) => Some(name.clone()),
            _ => None,
        });
        Ok(Self { first: first.collect(), routes })
    }

    pub(crate) fn is_api(&self, path: &str) -> bool {
        path.trim_start_matches('/').split('/').next().is_some_and(|first| self.first.contains(first))
    }

    /// The operation of a request.
    pub(crate) fn find(&self, method: &str, path: &str) -> Option<Found<'_>> {
        let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let method = method.to_ascii_lowercase();
        self.routes.iter().find_map(|route| {
            let values = matches(&route.segments, &segments)?;
            Some(Found { operation: route.methods.get(&method)?, values })
        })
    }

    /// The template that a path has with another method, for the message.
    pub(crate) fn template(&self, path: &str) -> Option<&str> {
        let segments: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
        let found = self.routes.iter().find(|route| matches(&route.segments, &segments).is_some());
        found.map(|route| route.template.as_str())
    }
}

fn route(root: &Value, template: &str, item: &Value) -> Route {
    let mut many = BTreeSet::new();
    let mut methods = HashMap::new();
    let place = format!("/paths/{}", template.replace('~', "~0").replace('/', "~1"));
    for method in METHODS {
        if item.get(method).is_none() {
            continue;
        }
        let mut parameters = Vec::new();
        for owner in [place.clone(), format!("{place}/{method}")] {
            let count = root.pointer(&format!("{owner}/parameters")).and_then(Value::as_array).map_or(0, Vec::len);
            parameters.extend((0..count).map(|index| format!("{owner}/parameters/{index}")));
        }
        for pointer in &parameters {
            let parameter = root.pointer(pointer).unwrap_or(&Value::Null);
            let parameter = match parameter["$ref"].as_str() {
                Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap_or(&Value::Null),
                None => parameter,
            };
            if parameter["x-multi-segment"] == true
                && let Some(name) = parameter["name"].as_str()
            {
                many.insert(name.to_owned());
            }
        }
        let name = format!("{} {template}", method.to_ascii_uppercase());
        methods.insert(method.to_owned(), Operation { name, pointer: format!("{place}/{method}"), parameters });
    }
    let segments = template.trim_start_matches('/').split('/').map(|segment| {
        match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
            Some(name) if name.contains('{') => Segment::Literal(segment.into()),
            Some(name) if many.contains(name) => Segment::Rest(name.into()),
            Some(name) => Segment::Name(name.into()),
            None => Segment::Literal(segment.into()),
        }
    });
    Route { template: template.to_owned(), segments: segments.collect(), methods }
}

fn matches<'a>(template: &'a [Segment], path: &[&str]) -> Option<Vec<(&'a str, String)>> {
    let Some((first, rest)) = template.split_first() else { return path.is_empty().then(Vec::new) };
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let (name, most) = match first {
        Segment::Literal(text) => {
            return (path.first().map(|one| decode(one)).as_ref() == Some(text)).then(|| matches(rest, &path[1..]))?;
        }
        Segment::Name(name) => (name, 1),
        Segment::Rest(name) => (name, path.len()),
    };
    (1..=most.min(path.len())).find_map(|count| {
        let (here, after) = path.split_at(count);
        let mut values = matches(rest, after)?;
        let value = decode(&here.join("/"));
        // GitHub serves the root of the contents with an empty path.
        (!value.is_empty() || name == "path").then(|| values.push((name.as_str(), value)))?;
        Some(values)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_most_literal_path_wins() {
        let rest = json!([{"name": "ref", "in": "path", "x-multi-segment": true}]);
        let document = Document::new(&json!({"paths": {
            "/repos/{owner}/{repo}/issues/{issue_number}": {"get": {}},
            "/repos/{owner}/{repo}/issues/comments": {"get": {}},
            "/repos/{owner}/{repo}/commits/{ref}": {"get": {"parameters": rest}},
            "/repos/{owner}/{repo}/commits/{ref}/status": {"get": {"parameters": rest}},
        }}))
        .unwrap();
        let name = |method: &str, path: &str| document.find(method, path).map(|found| found.operation.name.clone());
        assert_eq!(name("GET", "/repos/o/r/issues/comments").unwrap(), "GET /repos/{owner}/{repo}/issues/comments");
        assert_eq!(name("GET", "/repos/o/r/issues/7").unwrap(), "GET /repos/{owner}/{repo}/issues/{issue_number}");
        let found = document.find("GET", "/repos/o/r/commits/feature/a%20b/status").unwrap();
        assert_eq!(found.operation.name, "GET /repos/{owner}/{repo}/commits/{ref}/status");
        assert!(found.values.contains(&("ref", "feature/a b".to_owned())));
        assert_eq!(name("POST", "/repos/o/r/issues/7"), None);
        assert_eq!(document.template("/repos/o/r/issues/7"), Some("/repos/{owner}/{repo}/issues/{issue_number}"));
        assert!(document.is_api("/repos/x") && !document.is_api("/team/iris/pull/1"));
    }
}
