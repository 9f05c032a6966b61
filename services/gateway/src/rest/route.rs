//! The routes of the exposed services, from their `google.api.http` options.

use http::Method;
use kfops_core::Failure;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, ReflectMessage as _};

use super::template::Template;

/// One binding of one method.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) verb: Method,
    pub(super) template: Template,
    pub(super) body: BodyRule,
    pub(super) method: MethodDescriptor,
}

/// What the body of a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BodyRule {
    /// There is none.
    None,
    /// The whole message, but for what the path gives.
    Whole,
    /// One field of it.
    Field(String),
}

/// All routes.
pub(super) struct Routes(pub(super) Vec<Route>);

/// A route and the variables of its path.
pub(super) struct Match<'a> {
    pub(super) route: &'a Route,
    pub(super) variables: Vec<(&'a str, String)>,
}

/// What there is at a path.
pub(super) enum Lookup<'a> {
    Found(Match<'a>),
    OtherMethods(Vec<Method>),
    Nothing,
}

impl Routes {
    /// Reads the options of every method of `exposed`.
    pub(super) fn of(pool: &DescriptorPool, exposed: &[&str]) -> Result<Self, Failure> {
        let extension = pool
            .get_extension_by_name("google.api.http")
            .ok_or_else(|| Failure::internal("the protos do not define google.api.http"))?;
        let mut routes = Vec::new();
        for service in pool.services().filter(|s| exposed.contains(&s.full_name())) {
            for method in service.methods() {
                let options = method.options();
                if !options.has_extension(&extension) {
                    continue;
                }
                if let Some(rule) = options.get_extension(&extension).as_message() {
                    read(&method, rule, &mut routes)?;
                }
            }
        }
        Ok(Self(routes))
    }

    /// Finds the route of a request.
    pub(super) fn find(&self, verb: &Method, path: &str) -> Lookup<'_> {
        let mut others = Vec::new();
        for route in &self.0 {
            let Some(variables) = route.template.matches(path) else { continue };
            if route.verb == *verb {
                return Lookup::Found(Match { route, variables });
            }
            others.push(route.verb.clone());
        }
        if others.is_empty() { Lookup::Nothing } else { Lookup::OtherMethods(others) }
    }
}

fn read(method: &MethodDescriptor, rule: &DynamicMessage, routes: &mut Vec<Route>) -> Result<(), Failure> {
    let wrong = |what: &str| Failure::internal(format!("google.api.http of {}: {what}", method.full_name()));
    let text =
        |name: &str| rule.get_field_by_name(name).and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    let verbs = [
        ("get", Method::GET),
        ("put", Method::PUT),
        ("post", Method::POST),
        ("delete", Method::DELETE),
        ("patch", Method::PATCH),
    ];
    let (verb, template) = verbs
        .into_iter()
        .find(|(name, _)| rule.has_field_by_name(name))
        .map(|(name, verb)| (verb, text(name)))
        .ok_or_else(|| wrong("no pattern"))?;
    let template = Template::parse(&template).ok_or_else(|| wrong("a path that cannot be read"))?;
    if !text("response_body").is_empty() {
        return Err(wrong("response_body is not supported"));
    }
    let body = match text("body").as_str() {
        "" => BodyRule::None,
        "*" => BodyRule::Whole,
        field => BodyRule::Field(field.to_owned()),
    };
    let input = method.input();
    let named = template.fields().chain(match &body {
        BodyRule::Field(field) => Some(field.as_str()),
        _ => None,
    });
    for field in named {
        if input.get_field_by_name(field).is_none() {
            return Err(wrong(&format!("{} has no field {field}", input.full_name())));
        }
    }
    routes.push(Route { verb, template, body, method: method.clone() });
    if let Some(more) = rule.get_field_by_name("additional_bindings") {
        for rule in more.as_list().unwrap_or_default() {
            if let Some(rule) = rule.as_message().filter(|rule| rule.descriptor().full_name() == "google.api.HttpRule")
            {
                read(method, rule, routes)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
pub(super) fn commands() -> Routes {
    let pool = DescriptorPool::decode(kfops_proto::FILE_DESCRIPTOR_SET).unwrap();
    Routes::of(&pool, crate::api::EXPOSED).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(routes: &Routes, verb: &str, path: &str) -> String {
        match routes.find(&Method::from_bytes(verb.as_bytes()).unwrap(), path) {
            Lookup::Found(found) => found.route.method.name().to_owned(),
            Lookup::OtherMethods(methods) => format!("{methods:?}"),
            Lookup::Nothing => "-".into(),
        }
    }

    #[test]
    fn only_what_is_exposed() {
        let routes = commands();
        assert_eq!(at(&routes, "POST", "/v1/commands"), "CreateCommand");
        assert_eq!(at(&routes, "GET", "/v1/commands"), "ListCommands");
        assert_eq!(at(&routes, "GET", "/v1/commands/c"), "GetCommand");
        assert_eq!(at(&routes, "GET", "/v1/commands/c:watch"), "WatchCommand");
        assert_eq!(at(&routes, "POST", "/v1/commands/c:cancel"), "CancelCommand");
        assert_eq!(at(&routes, "GET", "/v1/commands/c:readLog"), "ReadCommandLog");
        assert_eq!(at(&routes, "DELETE", "/v1/commands"), "[POST, GET]");
        assert_eq!(at(&routes, "GET", "/v1/commands/c:burn"), "-");
        assert_eq!(at(&routes, "GET", "/v1/builds"), "-");
        assert_eq!(at(&routes, "GET", "/v1/locks"), "ListLocks");
        assert_eq!(routes.0.len(), 7);
    }
}
