//! One finished span, with its true times.

use std::time::SystemTime;

use kfops_core::{SpanId, TraceContext};

/// A finished span. It is made when its work has ended, because work may outlive the process that began it.
#[derive(Debug, Clone)]
pub struct Span {
    /// e.g. `image trainer`.
    pub name: String,
    /// Trace, own id, sampled.
    pub context: TraceContext,
    /// None for the root of a trace.
    pub parent: Option<SpanId>,
    /// Role in a call.
    pub kind: Kind,
    /// True start.
    pub start: SystemTime,
    /// True end.
    pub end: SystemTime,
    /// Names follow the OpenTelemetry semantic conventions where they exist, else `kfops.*`.
    pub attributes: Vec<(&'static str, Value)>,
    /// Set when the work failed.
    pub error: Option<String>,
    /// Other traces that this work builds on.
    pub links: Vec<TraceContext>,
}

/// Role in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Work inside the service.
    Internal,
    /// Answering a request.
    Server,
    /// Making a request.
    Client,
}

/// Value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
    /// Whole number.
    Int(i64),
    /// Number.
    Float(f64),
    /// Truth.
    Bool(bool),
}

impl Span {
    /// The child `key` of `parent`: its id is `parent.child(key)`, so that whoever knows both can name it as a parent before it is exported.
    pub fn child(
        parent: &TraceContext,
        key: &str,
        name: impl Into<String>,
        start: SystemTime,
        end: SystemTime,
    ) -> Self {
        Self::new(parent.child(key), Some(parent.span_id), name, start, end)
    }

    /// The root of a trace, under an id that was given out before.
    pub fn root(context: TraceContext, name: impl Into<String>, start: SystemTime, end: SystemTime) -> Self {
        Self::new(context, None, name, start, end)
    }

    fn new(
        context: TraceContext,
        parent: Option<SpanId>,
        name: impl Into<String>,
        start: SystemTime,
        end: SystemTime,
    ) -> Self {
        Self {
            name: name.into(),
            context,
            parent,
            kind: Kind::Internal,
            start,
            end: end.max(start),
            attributes: Vec::new(),
            error: None,
            links: Vec::new(),
        }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push((key, value.into()));
        self
    }

    /// Sets the kind.
    #[must_use]
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Marks the span as failed.
    #[must_use]
    pub fn failed(mut self, error: Option<impl Into<String>>) -> Self {
        self.error = error.map(Into::into);
        self
    }

    /// Adds links to other traces.
    #[must_use]
    pub fn linked(mut self, links: impl IntoIterator<Item = TraceContext>) -> Self {
        self.links.extend(links);
        self
    }
}

macro_rules! value_from {
    ($($type:ty => |$v:ident| $to:expr;)*) => {
        $(impl From<$type> for Value { fn from($v: $type) -> Self { $to } })*
    };
}
value_from! {
    &str => |v| Self::Text(v.to_owned());
    String => |v| Self::Text(v);
    i64 => |v| Self::Int(v);
    i32 => |v| Self::Int(v.into());
    u32 => |v| Self::Int(v.into());
    f64 => |v| Self::Float(v);
    bool => |v| Self::Bool(v);
}
