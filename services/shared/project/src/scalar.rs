//! What unquoted YAML text means where the schema does not say: number, boolean, nothing, or text.

use serde_json::{Number, Value as Json};

/// What a plain scalar means, as YAML 1.2's core schema says.
pub(crate) fn resolve(text: &str) -> Json {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Json::Null,
        "true" | "True" | "TRUE" => return Json::Bool(true),
        "false" | "False" | "FALSE" => return Json::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let integer = match (text.strip_prefix("0x"), text.strip_prefix("0o")) {
        (Some(hex), _) => i64::from_str_radix(hex, 16).ok(),
        (_, Some(octal)) => i64::from_str_radix(octal, 8).ok(),
        _ if digits.chars().all(|c| c.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    };
    if let Some(integer) = integer {
        return Json::Number(integer.into());
    }
    let float = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    let number = float.then(|| text.parse::<f64>().ok()).flatten().and_then(Number::from_f64);
    number.map_or_else(|| Json::String(text.to_owned()), Json::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars() {
        for (text, json) in [
            ("3", Json::from(3)),
            ("-3", Json::from(-3)),
            ("0x1f", Json::from(31)),
            ("1e3", Json::from(1000.0)),
            (".5", Json::from(0.5)),
            ("yes", Json::from("yes")),
            ("1.2.3", Json::from("1.2.3")),
            (".inf", Json::from(".inf")),
            ("2026-01-01", Json::from("2026-01-01")),
            ("~", Json::Null),
        ] {
            assert_eq!(resolve(text), json, "{text}");
        }
    }
}
