//! Streams end in time: at their deadline, and when the gateway stops.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use kfops_core::{Failure, Reason};
use tokio_util::sync::CancellationToken;

use super::Messages;

/// The messages up to the first failure, the deadline or the stop; the last two are failures that say to open it again.
pub(super) fn bounded(messages: Messages, deadline: Duration, stopping: CancellationToken) -> Messages {
    let end = async move {
        tokio::select! {
            () = tokio::time::sleep(deadline) => {
                Failure::new(Reason::DeadlineExceeded, "the stream was open as long as it may")
            }
            () = stopping.cancelled() => Failure::new(Reason::WorkerUnavailable, "the gateway is stopping"),
        }
    };
    let state = Some((messages, Box::pin(end)));
    stream::unfold(state, |state| async move {
        let (mut messages, mut end) = state?;
        let next = tokio::select! {
            biased;
            message = messages.next() => message?,
            failure = &mut end => Err(failure.action("open it again")),
        };
        let state = next.is_ok().then_some((messages, end));
        Some((next, state))
    })
    .boxed()
}
