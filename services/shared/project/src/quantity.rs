//! Durations (`2m`, `1h 30s`) and percentages (`0.1%`, or `0.001`).

use std::{borrow::Cow, fmt, str::FromStr, time};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Longest duration that makes sense for a pipeline or a rollout.
const LONGEST: time::Duration = time::Duration::from_secs(30 * 24 * 60 * 60);

/// A quantity that cannot be read; the text says how it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct QuantityError(String);

/// A length of time, written as `30s`, `2m` or `1h 30m`; at most 30 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(time::Duration);

impl Duration {
    /// Whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(time::Duration::from_secs(seconds))
    }

    /// As the standard library has it.
    #[must_use]
    pub const fn get(self) -> time::Duration {
        self.0
    }
}

impl FromStr for Duration {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let error = || QuantityError(format!("`{text}` is not a duration; write 30s, 2m or 1h 30m"));
        let value = humantime::parse_duration(text.trim()).map_err(|_| error())?;
        if value > LONGEST {
            return Err(QuantityError(format!("`{text}` is longer than 30 days")));
        }
        Ok(Self(value))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", humantime::format_duration(self.0))
    }
}

/// A share: `0.1%`, or the fraction `0.001`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Percent(f64);

impl Percent {
    /// From a fraction: 0.01 is 1 %.
    #[must_use]
    pub const fn from_fraction(fraction: f64) -> Self {
        Self(fraction)
    }

    /// 1 % is 0.01.
    #[must_use]
    pub const fn fraction(self) -> f64 {
        self.0
    }
}

impl FromStr for Percent {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let trimmed = text.trim();
        let error = || QuantityError(format!("`{text}` is not a share; write 0.1% or 0.001"));
        let digits = |number: &str| number.starts_with(|c: char| c.is_ascii_digit());
        let parse = |number: &str| number.parse::<f64>().ok().filter(|n| digits(number) && n.is_finite());
        match trimmed.strip_suffix('%') {
            Some(number) => {
                let value = parse(number.trim_end()).ok_or_else(error)?;
                if value > 1000.0 {
                    return Err(QuantityError(format!("`{text}` is more than 1000%")));
                }
                Ok(Self(value / 100.0))
            }
            None => {
                let value = parse(trimmed).ok_or_else(error)?;
                // 25 could mean 25 % or 2500 %.
                if value > 1.0 {
                    return Err(QuantityError(format!("`{text}` is more than 1; write {trimmed}% for percent")));
                }
                Ok(Self(value))
            }
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Twelve digits hide the error of the division by 100.
        let text = format!("{:.10}", self.0 * 100.0);
        let text = text.trim_end_matches('0').trim_end_matches('.');
        write!(f, "{text}%")
    }
}

macro_rules! written_as_text {
    ($type:ident, $format:literal, $schema:tt) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = match serde_json::Value::deserialize(deserializer)? {
                    serde_json::Value::String(text) => text,
                    serde_json::Value::Number(number) => number.to_string(),
                    other => return Err(de::Error::custom(format!("expected {}, found {other}", $format))),
                };
                text.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

written_as_text!(Duration, "a duration", {
    "type": "string",
    "format": "kfops-duration",
    "pattern": "^\\s*[0-9]",
    "examples": ["30s", "2m", "1h 30m"]
});
written_as_text!(Percent, "a share", {
    "type": ["string", "number"],
    "format": "kfops-percent",
    "pattern": "^\\s*[0-9.]+\\s*%?\\s*$",
    "examples": ["0.1%", 0.001]
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages() {
        assert_eq!("0.1%".parse::<Percent>().unwrap().to_string(), "0.1%");
        assert_eq!("0.001".parse::<Percent>().unwrap().fraction(), 0.001);
        assert_eq!("25 %".parse::<Percent>().unwrap().fraction(), 0.25);
        assert_eq!("100%".parse::<Percent>().unwrap().to_string(), "100%");
        assert_eq!("25".parse::<Percent>().unwrap_err().to_string(), "`25` is more than 1; write 25% for percent");
        for bad in ["", "%", "-1%", "nan", "inf%", "1001%", "x"] {
            assert!(bad.parse::<Percent>().is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!("1h 30m".parse::<Duration>().unwrap().get().as_secs(), 5400);
        assert_eq!("120s".parse::<Duration>().unwrap().to_string(), "2m");
        for bad in ["", "10", "-1s", "2 minutes ago", "31d", "99999999999999999999y"] {
            assert!(bad.parse::<Duration>().is_err(), "{bad}");
        }
    }
}
