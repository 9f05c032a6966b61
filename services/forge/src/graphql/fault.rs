//! Errors of single fields, with the `type` that GitHub gives them.

use async_graphql::{Error, ErrorExtensions as _, ID};

/// Under this name a `type` travels to the answer.
pub(super) const TYPE: &str = "type";

/// An error of that type.
pub(super) fn fault(kind: &'static str, message: impl Into<String>) -> Error {
    Error::new(message).extend_with(|_, extensions| extensions.set(TYPE, kind))
}

/// There is no node of that id, or none that fits here.
pub(super) fn no_node(id: &ID) -> Error {
    let shown: String = id.chars().take(200).collect();
    fault("NOT_FOUND", format!("Could not resolve to a node with the global id of '{shown}'"))
}

/// What the forge refuses, as GraphQL says it.
pub(super) fn refusal(error: crate::error::Error) -> Error {
    use crate::error::Error as E;
    match error {
        E::Forbidden(text) => fault("FORBIDDEN", text),
        E::AuthenticationRequired | E::BadCredentials => fault("FORBIDDEN", "Requires authentication"),
        E::RateLimited => fault("RATE_LIMITED", "API rate limit exceeded for user"),
        E::NotFound => fault("NOT_FOUND", "Could not resolve to a node with the given arguments."),
        E::Missing(text) => fault("NOT_FOUND", text),
        E::Internal(text) => {
            tracing::error!(error = text, "graphql field failed");
            Error::new("Something went wrong while executing your query.")
        }
        other => fault("UNPROCESSABLE", other.into_failure("graphql").message),
    }
}
