//! Channels to other services.

use std::{future::Future, time::Duration};

use backon::{ExponentialBuilder, Retryable as _};
use kfops_core::{Failure, Reason};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

/// How long callers wait.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines;

impl Deadlines {
    /// For calls that answer at once.
    pub const CALL: Duration = Duration::from_secs(10);
    /// For one stream of a watch; it is opened again after that.
    pub const WATCH: Duration = Duration::from_secs(600);
}

/// The address cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("`{address}` is not an address of a service, write it like http://127.0.0.1:9001: {cause}")]
pub struct ChannelError {
    address: String,
    cause: String,
}

/// A channel that connects when it is first used and again whenever it was cut.
pub fn connect(address: &str) -> Result<Channel, ChannelError> {
    let endpoint = Endpoint::from_shared(address.to_owned())
        .map_err(|error| ChannelError { address: address.to_owned(), cause: error.to_string() })?
        .connect_timeout(Duration::from_secs(3))
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    Ok(endpoint.connect_lazy())
}

/// Repeats a call that may be repeated, while the other side is away: 5 tries within about 3 s.
pub async fn retry_idempotent<T, F, Fut>(call: F) -> Result<T, Failure>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Status>>,
{
    let backoff = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(2))
        .with_max_times(4)
        .with_jitter();
    call.retry(backoff).when(|status| matches!(status.code(), Code::Unavailable)).await.map_err(|status| {
        let failure = crate::failure_of(&status);
        if failure.reason == Reason::WorkerUnavailable {
            failure.action("it is tried again by itself; if it lasts, look whether the service runs")
        } else {
            failure
        }
    })
}
