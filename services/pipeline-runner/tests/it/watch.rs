//! Watches that resume: streams of whole snapshots, opened again when they are cut.

use std::{future::Future, time::Duration};

use kfops_core::{Failure, Reason};
use tonic::{Code, Status, Streaming};

/// What to do after a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    /// Wait for the next one.
    Continue,
    /// That was enough.
    Done,
}

/// Feeds every snapshot to `see` until it says `Done`. `open` is called again when the stream is cut or the other side
/// is away, for as long as it takes; a status that will not change ends the watch.
pub(crate) async fn watch_until<T, Open, Fut, See>(mut open: Open, mut see: See) -> Result<(), Failure>
where
    Open: FnMut() -> Fut,
    Fut: Future<Output = Result<tonic::Response<Streaming<T>>, Status>>,
    See: AsyncFnMut(T) -> Result<Watched, Failure>,
{
    let mut pause = Duration::from_millis(100);
    loop {
        match open().await {
            Ok(response) => {
                let mut stream = response.into_inner();
                loop {
                    match stream.message().await {
                        Ok(Some(snapshot)) => {
                            pause = Duration::from_millis(100);
                            if see(snapshot).await? == Watched::Done {
                                return Ok(());
                            }
                        }
                        Ok(None) => break,
                        Err(status) if passing(&status) => break,
                        Err(status) => return Err(kfops_rpc::failure_of(&status)),
                    }
                }
            }
            Err(status) if passing(&status) => tracing::debug!(%status, "watch interrupted"),
            Err(status) => return Err(kfops_rpc::failure_of(&status)),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

fn passing(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded | Code::Unknown | Code::ResourceExhausted => true,
        Code::Internal => kfops_rpc::failure_of(status).reason != Reason::Internal || status.message().contains("h2"),
        _ => false,
    }
}
