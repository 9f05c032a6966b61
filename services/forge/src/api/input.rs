//! Request bodies, refused the way GitHub refuses them.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::respond::Answer;
use crate::error::Error;

/// A JSON body. An absent one is `{}`.
pub(super) struct Input<T>(pub(super) T);

impl<T, S> FromRequest<S> for Input<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Answer;

    async fn from_request(request: Request, state: &S) -> Result<Self, Answer> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|_| Error::TooLarge("The request body is too large or was cut off".to_owned()))?;
        let value = if bytes.trim_ascii().is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).map_err(|_| Error::BadRequest("Problems parsing JSON".to_owned()))?
        };
        let value = if value.is_null() { Value::Object(serde_json::Map::new()) } else { value };
        match serde_json::from_value(value) {
            Ok(input) => Ok(Self(input)),
            Err(error) => Err(Error::invalid(format!("Invalid request.\n\n{error}.")).into()),
        }
    }
}
