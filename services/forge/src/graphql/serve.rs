//! The endpoint: a document in, data and errors out in GitHub's shape.

use std::sync::Arc;

use async_graphql::{PathSegment, Request, Response, ServerError};
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse as _, Response as HttpResponse};
use serde_json::{Value, json};

use super::fault::TYPE;
use super::{SCHEMA, Session};
use crate::api::Answer;
use crate::caller::Caller;
use crate::error::Error;
use crate::hub::{Hub, Rate};

/// Longest document, in bytes.
const DOCUMENT: usize = 256 << 10;

pub(crate) async fn serve(
    State(hub): State<Arc<Hub>>,
    Extension(caller): Extension<Caller>,
    Extension(rate): Extension<Rate>,
    body: Bytes,
) -> Result<HttpResponse, Answer> {
    let user = caller.user.clone();
    let user = user.ok_or_else(|| Error::Unauthorized("This endpoint requires you to be authenticated.".to_owned()))?;
    if rate.exceeded {
        let message = format!("API rate limit exceeded for user ID {}.", user.id);
        return Ok(axum::Json(json!({ "errors": [{ "type": "RATE_LIMITED", "message": message }] })).into_response());
    }
    let parsed: Value =
        serde_json::from_slice(&body).map_err(|_| Error::BadRequest("Problems parsing JSON".to_owned()))?;
    if !parsed["query"].is_string() {
        let message = "A query attribute must be specified and must be a string.";
        return Ok(axum::Json(json!({ "errors": [{ "message": message }] })).into_response());
    }
    let request: Request = serde_json::from_value(parsed)
        .map_err(|_| Error::BadRequest("Variables must be an object, operationName a string".to_owned()))?;
    if request.query.len() > DOCUMENT {
        return Err(Error::TooLarge("The query is too long".to_owned()).into());
    }
    // A client that hangs up does not stop what it began.
    let request = request.data(Session { hub, caller, user, rate });
    let response = tokio::spawn(async move { SCHEMA.execute(request).await }).await.map_err(Error::internal)?;
    Ok(axum::Json(render(response)?).into_response())
}

fn render(response: Response) -> Result<Value, Error> {
    let mut data = response.data.into_json()?;
    let began = response.errors.iter().all(|error| !error.path.is_empty());
    for error in &response.errors {
        settle(&mut data, &error.path);
    }
    let mut answer = json!({});
    if began {
        answer["data"] = data;
    }
    if !response.errors.is_empty() {
        answer["errors"] = response.errors.iter().map(entry).collect();
    }
    Ok(answer)
}

/// A field that failed is null if it may be, and is left out by the executor if it may not: then its parent is null.
fn settle(data: &mut Value, path: &[PathSegment]) {
    let Some((last, parents)) = path.split_last() else { return };
    let mut parent = data;
    for segment in parents {
        let next = match segment {
            PathSegment::Field(name) => parent.get_mut(name),
            PathSegment::Index(index) => parent.get_mut(index),
        };
        let Some(next) = next else { return };
        parent = next;
    }
    if let PathSegment::Field(name) = last
        && parent.get(name).is_none()
    {
        *parent = Value::Null;
    }
}

fn entry(error: &ServerError) -> Value {
    let mut entry = json!({ "message": error.message });
    let kind = error.extensions.as_ref().and_then(|extensions| extensions.get(TYPE));
    if let Some(async_graphql::Value::String(kind)) = kind {
        entry["type"] = kind.as_str().into();
    }
    if !error.path.is_empty() {
        entry["path"] = error
            .path
            .iter()
            .map(|segment| match segment {
                PathSegment::Field(name) => Value::from(name.as_str()),
                PathSegment::Index(index) => Value::from(*index),
            })
            .collect();
    }
    entry["locations"] =
        error.locations.iter().map(|place| json!({ "line": place.line, "column": place.column })).collect();
    entry
}
