//! Streams: newline-delimited JSON, or server-sent events where the client asks for them.

use std::{convert::Infallible, time::Duration};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http::{HeaderMap, StatusCode, header};
use kfops_core::Failure;
use prost_reflect::DynamicMessage;

use crate::{answer, api::Messages};

/// How messages are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Lines,
    Events,
}

/// How often an idle stream of events shows that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

impl Format {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let events = accept.flat_map(|value| value.split(',')).any(|part| part.trim().starts_with("text/event-stream"));
        if events { Self::Events } else { Self::Lines }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Lines => "application/x-ndjson",
            Self::Events => "text/event-stream",
        }
    }

    fn frame(self, message: Result<DynamicMessage, Failure>) -> Bytes {
        let json = message.and_then(|message| super::json_of(&message));
        Bytes::from(match (self, json) {
            (Self::Lines, Ok(json)) => format!("{json}\n"),
            (Self::Events, Ok(json)) => format!("data: {json}\n\n"),
            (Self::Lines, Err(failure)) => format!("{}\n", answer::failure_json(&failure, None)),
            (Self::Events, Err(failure)) => {
                format!("event: error\ndata: {}\n\n", answer::failure_json(&failure, None))
            }
        })
    }
}

/// The answer. A failure that comes first is the answer itself; a later one is the last line.
pub(super) async fn answer(mut messages: Messages, format: Format) -> Result<Response, Failure> {
    let first = match messages.next().await {
        Some(Err(failure)) => return Err(failure),
        Some(Ok(message)) => Some(Ok(message)),
        None => None,
    };
    let messages = stream::iter(first).chain(messages);
    let frames = messages.map(move |message| format.frame(message));
    let body = match format {
        Format::Lines => Body::from_stream(frames.map(Ok::<_, Infallible>)),
        Format::Events => Body::from_stream(kept_alive(frames).map(Ok::<_, Infallible>)),
    };
    Ok(answer::with_type(StatusCode::OK, format.content_type(), body))
}

fn kept_alive(frames: impl Stream<Item = Bytes> + Send + 'static) -> impl Stream<Item = Bytes> + Send {
    stream::unfold(frames.boxed(), |mut frames| async move {
        match tokio::time::timeout(KEEP_ALIVE, frames.next()).await {
            Ok(frame) => frame.map(|frame| (frame, frames)),
            Err(_) => Some((Bytes::from_static(b": still here\n\n"), frames)),
        }
    })
}
