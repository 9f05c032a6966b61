//! W3C trace contexts, and span ids that can be found again after a restart.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Hasher;

/// Trace id: 16 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub [u8; 16]);

/// Span id: 8 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub [u8; 8]);

/// Where in a trace something happens (W3C Trace Context level 1, `traceparent`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that new spans become children of.
    pub span_id: SpanId,
    /// Whether the trace is recorded.
    pub sampled: bool,
}

/// The text is no `traceparent`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a W3C traceparent")]
pub struct TraceContextError;

impl TraceContext {
    /// A sampled context of a new trace out of 24 random bytes.
    #[must_use]
    pub fn from_random(bytes: [u8; 24]) -> Self {
        let mut trace = [0; 16];
        let mut span = [0; 8];
        trace.copy_from_slice(&bytes[..16]);
        span.copy_from_slice(&bytes[16..]);
        trace[15] |= 1;
        span[7] |= 1;
        Self { trace_id: TraceId(trace), span_id: SpanId(span), sampled: true }
    }

    /// The child span called `key`. The same parent and key always give the same span id, so that
    /// a span whose start was seen before a restart can be exported after it, once, under the same id.
    #[must_use]
    pub fn child(&self, key: &str) -> Self {
        let mut hasher = Hasher::default();
        hasher.field(self.trace_id.0);
        hasher.field(self.span_id.0);
        hasher.field(key);
        let digest = hasher.finish();
        let mut span = [0u8; 8];
        for (byte, pair) in span.iter_mut().zip(digest.hex().as_bytes().chunks(2)) {
            *byte = std::str::from_utf8(pair).ok().and_then(|p| u8::from_str_radix(p, 16).ok()).unwrap_or(1);
        }
        if span == [0; 8] {
            span[7] = 1;
        }
        Self { span_id: SpanId(span), ..*self }
    }

    /// Reads a `traceparent` header; versions above 00 are read as 00, as the specification asks.
    pub fn parse(text: &str) -> Result<Self, TraceContextError> {
        let mut parts = text.trim().splitn(5, '-');
        let (Some(version), Some(trace), Some(span), Some(flags)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TraceContextError);
        };
        let lower = |s: &str| s.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if version.len() != 2
            || version == "ff"
            || flags.len() != 2
            || ![version, trace, span, flags].into_iter().all(lower)
        {
            return Err(TraceContextError);
        }
        if version == "00" && parts.next().is_some() {
            return Err(TraceContextError);
        }
        let mut context = Self { trace_id: TraceId([0; 16]), span_id: SpanId([0; 8]), sampled: false };
        hex::decode_to_slice(trace, &mut context.trace_id.0).map_err(|_| TraceContextError)?;
        hex::decode_to_slice(span, &mut context.span_id.0).map_err(|_| TraceContextError)?;
        context.sampled = u8::from_str_radix(flags, 16).map_err(|_| TraceContextError)? & 1 == 1;
        if context.trace_id.0 == [0; 16] || context.span_id.0 == [0; 8] {
            return Err(TraceContextError);
        }
        Ok(context)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! hex_text {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }
    };
}
hex_text!(TraceId);
hex_text!(SpanId);

impl TryFrom<String> for TraceContext {
    type Error = TraceContextError;
    fn try_from(text: String) -> Result<Self, TraceContextError> {
        Self::parse(&text)
    }
}

impl From<TraceContext> for String {
    fn from(context: TraceContext) -> Self {
        context.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn reads_and_writes_the_specifications_example() {
        let context = TraceContext::parse(EXAMPLE).unwrap();
        assert!(context.sampled);
        assert_eq!(context.to_string(), EXAMPLE);
    }

    #[test]
    fn refuses_broken_headers() {
        for bad in [
            "",
            "00-0-0-0",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
        ] {
            assert_eq!(TraceContext::parse(bad), Err(TraceContextError), "{bad}");
        }
    }

    #[test]
    fn children_are_stable_and_distinct() {
        let root = TraceContext::parse(EXAMPLE).unwrap();
        assert_eq!(root.child("a"), root.child("a"));
        assert_ne!(root.child("a"), root.child("b"));
        assert_eq!(root.child("a").trace_id, root.trace_id);
    }
}
