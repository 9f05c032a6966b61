//! Path templates of `google.api.http`: `/v1/{name=commands/*}:cancel`.

use std::fmt;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    text: String,
    segments: Vec<Segment>,
    /// Field path and its range of segments.
    variables: Vec<(String, std::ops::Range<usize>)>,
    verb: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Literal(String),
    /// `*`: one segment.
    One,
    /// `**`: what is left, at the end only.
    Rest,
}

impl Template {
    /// Reads a template; None when it is not one.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix('/')?;
        let (path, verb) = match rest.rsplit_once(':') {
            Some((path, verb)) if !verb.contains(['}', '/']) => (path, Some(verb.to_owned())),
            _ => (rest, None),
        };
        let mut template = Self { text: text.to_owned(), segments: Vec::new(), variables: Vec::new(), verb };
        for part in split(path) {
            match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                Some(variable) => {
                    let (field, pattern) = variable.split_once('=').unwrap_or((variable, "*"));
                    let start = template.segments.len();
                    for segment in pattern.split('/') {
                        template.push(segment)?;
                    }
                    template.variables.push((field.to_owned(), start..template.segments.len()));
                }
                None => template.push(part)?,
            }
        }
        Some(template)
    }

    fn push(&mut self, segment: &str) -> Option<()> {
        if segment.is_empty() || segment.contains(['{', '}']) || self.segments.last() == Some(&Segment::Rest) {
            return None;
        }
        self.segments.push(match segment {
            "*" => Segment::One,
            "**" => Segment::Rest,
            literal => Segment::Literal(literal.to_owned()),
        });
        Some(())
    }

    /// The variables of a path that has this shape, percent-decoded.
    pub(super) fn matches(&self, path: &str) -> Option<Vec<(&str, String)>> {
        let path = path.strip_prefix('/')?;
        let start_of_last = path.rfind('/').map_or(0, |at| at + 1);
        let (path, verb) = match path[start_of_last..].rfind(':') {
            Some(colon) => (&path[..start_of_last + colon], Some(&path[start_of_last + colon + 1..])),
            None => (path, None),
        };
        if verb != self.verb.as_deref() {
            return None;
        }
        let given: Vec<&str> = path.split('/').collect();
        let open = self.segments.last() == Some(&Segment::Rest);
        if given.len() < self.segments.len() || (!open && given.len() != self.segments.len()) {
            return None;
        }
        for (segment, given) in self.segments.iter().zip(&given) {
            let fits = match segment {
                Segment::Literal(literal) => literal == given,
                Segment::One | Segment::Rest => !given.is_empty(),
            };
            if !fits {
                return None;
            }
        }
        let value = |range: &std::ops::Range<usize>| {
            let end = if open && range.end == self.segments.len() { given.len() } else { range.end };
            let parts: Option<Vec<String>> = given[range.start..end].iter().map(|part| decode(part)).collect();
            parts.map(|parts| parts.join("/"))
        };
        self.variables.iter().map(|(field, range)| Some((field.as_str(), value(range)?))).collect()
    }

    /// The fields that the path gives.
    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(|(field, _)| field.as_str())
    }

    /// As an OpenAPI path, with one parameter for each `*`, named after the collection before it; and the names.
    pub(super) fn openapi(&self) -> (String, Vec<String>) {
        let mut path = String::new();
        let mut names = Vec::new();
        let mut before = "value";
        for segment in &self.segments {
            path.push('/');
            match segment {
                Segment::Literal(literal) => {
                    before = literal;
                    path.push_str(literal);
                }
                Segment::One | Segment::Rest => {
                    let name = before.strip_suffix('s').unwrap_or(before).to_owned();
                    path.push_str(&format!("{{{name}}}"));
                    names.push(name);
                }
            }
        }
        if let Some(verb) = &self.verb {
            path.push(':');
            path.push_str(verb);
        }
        (path, names)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// At slashes outside of braces.
fn split(path: &str) -> Vec<&str> {
    let mut inside = false;
    path.split(|c| {
        match c {
            '{' => inside = true,
            '}' => inside = false,
            _ => {}
        }
        c == '/' && !inside
    })
    .collect()
}

/// Percent-decoded; None when that gives no UTF-8 or would hide a slash.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let mut byte = [0];
        hex::decode_to_slice(rest.get(..2)?, &mut byte).ok()?;
        if byte[0] == b'/' {
            return None;
        }
        bytes.push(byte[0]);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(template: &str, path: &str) -> Option<Vec<String>> {
        let template = Template::parse(template).unwrap();
        template.matches(path).map(|all| all.into_iter().map(|(field, value)| format!("{field}={value}")).collect())
    }

    #[test]
    fn variables_and_verbs() {
        let get = "/v1/{name=commands/*}";
        assert_eq!(matched(get, "/v1/commands/c-1"), Some(vec!["name=commands/c-1".into()]));
        assert_eq!(matched(get, "/v1/commands/c%2D1"), Some(vec!["name=commands/c-1".into()]));
        for other in ["/v1/commands", "/v1/commands/", "/v1/commands/a/b", "/v1/runs/a", "/v1/commands/a:watch", "v1"] {
            assert_eq!(matched(get, other), None, "{other}");
        }
        assert_eq!(matched(get, "/v1/commands/a%2Fb"), None);
        assert_eq!(matched(get, "/v1/commands/%zz"), None);
        assert_eq!(matched(get, "/v1/commands/%ff"), None);
        assert_eq!(matched(get, "/v1/commands/a%"), None);
        let watch = "/v1/{name=commands/*}:watch";
        assert_eq!(matched(watch, "/v1/commands/a:watch"), Some(vec!["name=commands/a".into()]));
        assert_eq!(matched(watch, "/v1/commands/a:cancel"), None);
        assert_eq!(matched(watch, "/v1/commands/a"), None);
        assert_eq!(matched("/v1/{path=files/**}", "/v1/files/a/b"), Some(vec!["path=files/a/b".into()]));
        assert_eq!(matched("/v1/{id}/x", "/v1/7/x"), Some(vec!["id=7".into()]));
    }

    #[test]
    fn openapi_paths() {
        let template = Template::parse("/v1/{name=commands/*}:cancel").unwrap();
        assert_eq!(template.openapi(), ("/v1/commands/{command}:cancel".into(), vec!["command".into()]));
    }

    #[test]
    fn what_is_no_template() {
        for bad in ["", "v1", "/v1//x", "/v1/{name=**/x}"] {
            assert_eq!(Template::parse(bad), None, "{bad}");
        }
    }
}
