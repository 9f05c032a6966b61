//! The proof that a revision answers: the sample request and the golden requests, and what counts as an answer.

use serde::Deserialize;
use serde_json::Value;

use crate::{ports::Answer, service::Protocol};

/// Longest error text of a model that is shown.
const ERROR_SHOWN: usize = 300;
/// Most golden requests: each is sent at the proof and at every canary step.
const MOST_GOLDEN: usize = 500;
/// Longest answer that is kept.
const KEPT: usize = 4096;

/// A request with the answer that is expected.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// What is asked.
    pub request: Value,
    /// What must be in the answer: every key of it, with numbers within the tolerance.
    pub expect: Value,
    /// By how much a number may differ.
    #[serde(default)]
    pub tolerance: f64,
}

/// Reads one JSON object a line; the error names the line.
pub fn parse_golden(text: &str) -> Result<Vec<Golden>, String> {
    if text.lines().filter(|line| !line.trim().is_empty()).count() > MOST_GOLDEN {
        return Err(format!("more than {MOST_GOLDEN} requests"));
    }
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| match serde_json::from_str::<Golden>(line) {
            Ok(golden) if golden.tolerance >= 0.0 => Ok(golden),
            Ok(_) => Err(format!("line {}: tolerance must not be negative", number + 1)),
            Err(error) => Err(format!("line {}: {error}", number + 1)),
        })
        .collect()
}

/// Whether the answer is a prediction by `revision`; the error says what it is instead.
pub fn check(answer: &Answer, revision: &str, protocol: Protocol, request: &Value) -> Result<Value, String> {
    if answer.status != 200 {
        return Err(match error_text(&answer.body) {
            Some(text) => format!("{}, `{text}`", answer.status),
            None => answer.status.to_string(),
        });
    }
    match &answer.revision {
        Some(other) if other == revision => {}
        Some(other) => return Err(format!("{other} answered instead")),
        None => return Err("the answer does not say which revision made it".into()),
    }
    let body: Value =
        serde_json::from_slice(&answer.body).map_err(|error| format!("200, but the answer is not JSON: {error}"))?;
    let (asked, given) = match protocol {
        Protocol::V1 => (request.get("instances"), body.get("predictions")),
        Protocol::V2 => (None, body.get("outputs")),
    };
    let Some(given) = given.and_then(Value::as_array).filter(|given| !given.is_empty()) else {
        let key = if protocol == Protocol::V1 { "predictions" } else { "outputs" };
        return Err(format!("200, but the answer has no list `{key}`"));
    };
    if let Some(asked) = asked.and_then(Value::as_array)
        && asked.len() != given.len()
    {
        return Err(format!("200, but {} predictions for {} instances", given.len(), asked.len()));
    }
    Ok(body)
}

/// What a model server says about its error: `ValueError: X has 3 features, …`, on one line and short.
#[must_use]
pub fn error_text(body: &[u8]) -> Option<String> {
    let text = match serde_json::from_slice::<Value>(body) {
        Ok(json) => json.get("error").or_else(|| json.get("detail"))?.as_str()?.to_owned(),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    let line = text.trim().lines().next()?.replacen(" : ", ": ", 1).replace('`', "'");
    let line: String = line.chars().filter(|c| !c.is_control()).take(ERROR_SHOWN).collect();
    (!line.is_empty()).then_some(line)
}

/// The first place where the answer is not what is expected.
#[must_use]
pub fn mismatch(golden: &Golden, answer: &Value) -> Option<String> {
    differs("", &golden.expect, answer, golden.tolerance)
}

fn differs(path: &str, expected: &Value, found: &Value, tolerance: f64) -> Option<String> {
    let at = if path.is_empty() { "the answer" } else { path };
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => expected.iter().find_map(|(key, value)| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match found.get(key) {
                Some(found) => differs(&path, value, found, tolerance),
                None => Some(format!("{path} is missing")),
            }
        }),
        (Value::Array(expected), Value::Array(found)) => {
            if expected.len() != found.len() {
                return Some(format!("{at} has {} items, expected {}", found.len(), expected.len()));
            }
            let mut pairs = expected.iter().zip(found).enumerate();
            pairs.find_map(|(i, (expected, found))| differs(&format!("{path}[{i}]"), expected, found, tolerance))
        }
        (Value::Number(a), Value::Number(b)) => {
            let close = a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| (a - b).abs() <= tolerance);
            (a != b && !close).then(|| format!("{at} is {b}, expected {a}"))
        }
        (a, b) => (a != b).then(|| format!("{at} is {}, expected {}", short(b), short(a))),
    }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}

/// The answer as it is kept with the rollout.
#[must_use]
pub fn kept(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut end = text.len().min(KEPT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: u16, revision: &str, body: Value) -> Answer {
        Answer { status, revision: Some(revision.into()), body: body.to_string().into_bytes() }
    }

    #[test]
    fn only_a_prediction_by_that_revision_counts() {
        let request = json!({"instances": [[1], [2]]});
        let check = |answer: Answer| check(&answer, "iris-00002", Protocol::V1, &request);
        assert!(check(answer(200, "iris-00002", json!({"predictions": [0, 1]}))).is_ok());
        let cases = [
            (answer(200, "iris-00001", json!({"predictions": [0, 1]})), "iris-00001 answered instead"),
            (answer(200, "iris-00002", json!({"predictions": [0]})), "200, but 1 predictions for 2 instances"),
            (answer(200, "iris-00002", json!({"x": 1})), "200, but the answer has no list `predictions`"),
            (answer(500, "iris-00002", json!({"error": "ValueError : X\nY"})), "500, `ValueError: X`"),
            (Answer { revision: None, ..answer(503, "", json!({})) }, "503"),
        ];
        for (answer, expected) in cases {
            assert_eq!(check(answer).unwrap_err(), expected);
        }
    }

    #[test]
    fn outputs_of_v2_count() {
        let body = json!({"outputs": [{"name": "output-0", "data": [0]}]});
        assert!(check(&answer(200, "a-00001", body), "a-00001", Protocol::V2, &json!({"inputs": []})).is_ok());
    }

    #[test]
    fn golden_answers_are_compared_within_the_tolerance() {
        let golden = Golden { request: json!({}), expect: json!({"predictions": [0.5, "a"]}), tolerance: 0.01 };
        assert_eq!(mismatch(&golden, &json!({"predictions": [0.505, "a"], "more": 1})), None);
        for (found, text) in [
            (json!({"predictions": [0.52, "a"]}), "predictions[0] is 0.52, expected 0.5"),
            (json!({"predictions": [0.5]}), "predictions has 1 items, expected 2"),
            (json!({"predictions": [0.5, "b"]}), "predictions[1] is \"b\", expected \"a\""),
            (json!({}), "predictions is missing"),
            (json!(1), "the answer is 1, expected {\"predictions\":[0.5,\"a\"]}"),
        ] {
            assert_eq!(mismatch(&golden, &found).as_deref(), Some(text));
        }
    }

    #[test]
    fn golden_lines_are_read_and_wrong_ones_named() {
        assert_eq!(parse_golden("{\"request\":1,\"expect\":2}\n\n").unwrap().len(), 1);
        assert!(parse_golden("{\"request\":1,\"expect\":2}\n{").unwrap_err().starts_with("line 2: "));
        assert!(parse_golden("{\"request\":1,\"expect\":2,\"tolerance\":-1}").is_err());
    }
}
