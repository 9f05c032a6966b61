//! The files that `serving` names: the InferenceService template, the sample request and the golden requests.

use serde_json::Value as Json;

use crate::{
    diagnostic::Diagnostic,
    position::Position,
    repository::TOP,
    suggest::nearest,
    yaml::{self, Node, Value},
};

/// Longest template and sample.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;

/// KServe's two prediction protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    V1,
    V2,
}

impl Protocol {
    /// The key that a request of this protocol has.
    const fn key(self) -> &'static str {
        match self {
            Self::V1 => "instances",
            Self::V2 => "inputs",
        }
    }
}

/// Checks the template, and says which protocol its model speaks, if it says so.
pub(crate) fn inference_service(file: &str, bytes: &[u8], found: &mut Vec<Diagnostic>) -> Option<Protocol> {
    let text = String::from_utf8_lossy(bytes);
    let mut error = |at: Position, path: &str, message: String| found.push(Diagnostic::error(file, at, path, message));
    let documents = match yaml::parse(blank(&text).as_bytes()) {
        Ok(documents) => documents,
        Err(e) => {
            error(e.at, "", e.message);
            return None;
        }
    };
    let Some(service) = documents.iter().find(|d| d.get("kind").and_then(Node::text) == Some("InferenceService"))
    else {
        let at = documents.first().and_then(|d| d.get("kind")).map_or(TOP, |kind| kind.at);
        error(at, "kind", "not an InferenceService (kind: InferenceService)".to_owned());
        return None;
    };
    match service.get("apiVersion") {
        Some(version) if version.text() == Some("serving.kserve.io/v1beta1") => {}
        Some(version) => error(version.at, "apiVersion", "must be `serving.kserve.io/v1beta1`".to_owned()),
        None => error(service.at, "", "missing key `apiVersion`".to_owned()),
    }
    let predictor = service.get("spec").and_then(|spec| spec.get("predictor"));
    if !predictor.is_some_and(|p| matches!(p.value, Value::Mapping(_))) {
        error(service.get("spec").unwrap_or(service).at, "spec", "missing key `predictor`".to_owned());
    }
    if !text.contains("storage_uri") {
        error(
            service.at,
            "",
            "`{{ storage_uri }}` is nowhere used, so that every run would serve the same model".to_owned(),
        );
    }
    let model = predictor.and_then(|predictor| predictor.get("model"))?;
    match model.get("protocolVersion").and_then(Node::text) {
        Some("v2" | "grpc-v2") => Some(Protocol::V2),
        Some("v1") => Some(Protocol::V1),
        _ => None,
    }
}

/// The template with its placeholders turned into words and its statements into nothing; line and column stay.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("{{").into_iter().chain(rest.find("{%")).chain(rest.find("{#")).min() {
        out.push_str(&rest[..start]);
        let tag = &rest[start..];
        let (close, fill) = match tag.as_bytes()[1] {
            b'{' => ("}}", 'x'),
            b'%' => ("%}", ' '),
            _ => ("#}", ' '),
        };
        let Some(end) = tag.find(close) else {
            rest = tag;
            break;
        };
        let end = end + close.len();
        out.extend(tag[..end].chars().map(|c| if c == '\n' { '\n' } else { fill }));
        rest = &tag[end..];
    }
    out + rest
}

/// Checks the sample request.
pub(crate) fn sample(file: &str, bytes: &[u8], protocol: Option<Protocol>, found: &mut Vec<Diagnostic>) {
    match serde_json::from_slice::<Json>(bytes) {
        Ok(json) => request(file, TOP, "", &json, protocol, found),
        Err(error) => found.push(invalid_json(file, 1, &error)),
    }
}

/// Checks the golden requests: one JSON object per line.
pub(crate) fn golden(file: &str, bytes: &[u8], protocol: Option<Protocol>, found: &mut Vec<Diagnostic>) {
    const KEYS: [&str; 3] = ["request", "expect", "tolerance"];
    let mut cases = 0;
    for (index, line) in bytes.split(|b| *b == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        cases += 1;
        let at = Position { line: index + 1, column: 1 };
        let case = match serde_json::from_slice::<Json>(line) {
            Ok(Json::Object(case)) => case,
            Ok(_) => {
                found.push(Diagnostic::error(file, at, "", "not a JSON object"));
                continue;
            }
            Err(error) => {
                found.push(invalid_json(file, at.line, &error));
                continue;
            }
        };
        for key in case.keys().filter(|key| !KEYS.contains(&key.as_str())) {
            found.push(Diagnostic::error(file, at, key.as_str(), "unknown key").suggest(nearest(key, KEYS)));
        }
        if !case.contains_key("expect") {
            found.push(Diagnostic::error(file, at, "", "missing key `expect`"));
        }
        if case.get("tolerance").is_some_and(|t| !t.as_f64().is_some_and(|t| t >= 0.0)) {
            found.push(Diagnostic::error(file, at, "tolerance", "not a number of 0 or more"));
        }
        match case.get("request") {
            Some(json) => request(file, at, "request", json, protocol, found),
            None => found.push(Diagnostic::error(file, at, "", "missing key `request`")),
        }
    }
    if cases == 0 {
        found.push(Diagnostic::error(file, TOP, "", "no requests; write one JSON object per line"));
    }
}

fn request(file: &str, at: Position, path: &str, json: &Json, protocol: Option<Protocol>, found: &mut Vec<Diagnostic>) {
    let has = |protocol: Protocol| json.get(protocol.key()).is_some_and(Json::is_array);
    let message = match protocol {
        Some(protocol) if !has(protocol) => {
            format!("a request of the template's protocol {protocol:?} has a list `{}`", protocol.key())
        }
        None if !has(Protocol::V1) && !has(Protocol::V2) => {
            "a request has a list `instances` (protocol V1) or `inputs` (V2)".to_owned()
        }
        _ => return,
    };
    found.push(Diagnostic::error(file, at, path, message));
}

fn invalid_json(file: &str, line: usize, error: &serde_json::Error) -> Diagnostic {
    let at = Position { line: line + error.line().max(1) - 1, column: error.column().max(1) };
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    Diagnostic::error(file, at, "", format!("not valid JSON: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_keep_their_place() {
        assert_eq!(blank("a: {{ b }} c\n{% if x %}\nd: {{"), "a: xxxxxxx c\n          \nd: {{");
    }
}
