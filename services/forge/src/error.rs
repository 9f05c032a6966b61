//! Why the forge does not do what it was asked, in GitHub's terms.

use kfops_core::{Failure, Reason};

/// Result of anything the forge does.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// A refusal, or a fault of the forge.
#[derive(Debug)]
pub(crate) enum Error {
    /// A token that nobody has: 401.
    BadCredentials,
    /// No token where one is needed: 401.
    AuthenticationRequired,
    /// A token that cannot be believed, and why: 401.
    Unauthorized(String),
    /// The caller may not: 403.
    Forbidden(String),
    /// The caller used up its requests: 403, with when it may come back.
    RateLimited,
    /// No such thing, or none that the caller may see: 404.
    NotFound,
    /// The same, in words of its own: 404.
    Missing(String),
    /// The body cannot be parsed: 400.
    BadRequest(String),
    /// The request is understood and wrong: 422.
    Invalid(String, Vec<Field>),
    /// Something moved meanwhile: 409.
    Conflict(String),
    /// Not possible in this state: 405.
    NotAllowed(String),
    /// Too much was sent: 413.
    TooLarge(String),
    /// A fault of the forge: 500. The text goes to the log only.
    Internal(String),
}

/// One field of a request that is wrong.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Field {
    resource: &'static str,
    field: &'static str,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl Error {
    /// 422 for one field with one of GitHub's codes: `missing_field`, `invalid`, `already_exists`.
    pub(crate) fn field(resource: &'static str, field: &'static str, code: &'static str) -> Self {
        Self::Invalid("Validation Failed".into(), vec![Field { resource, field, code, message: None }])
    }

    /// 422 with a message of its own, as GitHub does under the code `custom`.
    pub(crate) fn custom(resource: &'static str, field: &'static str, message: impl Into<String>) -> Self {
        let field = Field { resource, field, code: "custom", message: Some(message.into()) };
        Self::Invalid("Validation Failed".into(), vec![field])
    }

    /// 422 without fields.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into(), Vec::new())
    }

    /// A fault of the forge, from anything that explains it.
    pub(crate) fn internal(error: impl std::fmt::Display) -> Self {
        Self::Internal(error.to_string())
    }

    /// The same, for callers of the library.
    pub(crate) fn into_failure(self, resource: &str) -> Failure {
        let (reason, message) = match self {
            Self::BadCredentials | Self::AuthenticationRequired => {
                (Reason::Unauthenticated, "no valid token".to_owned())
            }
            Self::Unauthorized(text) => (Reason::Unauthenticated, text),
            Self::Missing(text) => (Reason::NotFound, text),
            Self::Forbidden(text) => (Reason::PermissionDenied, text),
            Self::RateLimited => (Reason::ResourceExhausted, "the rate limit of the forge is used up".to_owned()),
            Self::NotFound => (Reason::NotFound, "the forge has no such resource".to_owned()),
            Self::BadRequest(text) => (Reason::InvalidArgument, text),
            Self::Invalid(text, fields) => {
                let details: Vec<_> = fields
                    .iter()
                    .map(|f| f.message.clone().unwrap_or_else(|| format!("{}: {}", f.field, f.code)))
                    .collect();
                let text = if details.is_empty() { text } else { details.join(", ") };
                (Reason::InvalidArgument, text)
            }
            Self::Conflict(text) => (Reason::MergeFailed, text),
            Self::NotAllowed(text) => (Reason::NotMergeable, text),
            Self::TooLarge(text) => (Reason::ResourceExhausted, text),
            Self::Internal(text) => (Reason::Internal, text),
        };
        Failure::new(reason, message).on(resource)
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::QueryReturnedNoRows => Self::NotFound,
            other => Self::Internal(format!("the forge's database failed: {other}")),
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::internal(error)
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::internal(error)
    }
}
