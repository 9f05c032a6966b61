//! Archives and other long output, streamed while git writes it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::process::{Child, ChildStdout};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::io::ReaderStream;

use super::{Bare, LONG_LIMIT};
use crate::error::{Error, Result};

/// The output of a git process that ends with it.
pub(crate) struct Stream {
    output: ReaderStream<ChildStdout>,
    deadline: Pin<Box<tokio::time::Sleep>>,
    // Killed on drop.
    _child: Child,
    _slot: OwnedSemaphorePermit,
}

impl Stream {
    pub(super) fn of(mut child: Child, slot: OwnedSemaphorePermit) -> Result<Self> {
        let output = child.stdout.take().ok_or_else(|| Error::internal("git has no output"))?;
        let deadline = Box::pin(tokio::time::sleep(LONG_LIMIT));
        Ok(Self { output: ReaderStream::with_capacity(output, 64 << 10), deadline, _child: child, _slot: slot })
    }
}

impl futures::Stream for Stream {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        use std::future::Future as _;
        if self.deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(std::io::ErrorKind::TimedOut.into())));
        }
        Pin::new(&mut self.output).poll_next(cx)
    }
}

impl Bare {
    /// The tree of a commit as a gzipped tar with one folder at its top.
    pub(crate) async fn archive(&self, sha: &str, top: &str) -> Result<Stream> {
        let slot = self.git.long.clone().acquire_owned().await.map_err(Error::internal)?;
        let mut command = self.git.command(Some(&self.dir));
        command.args(["archive", "--format=tar.gz", &format!("--prefix={top}/"), sha]);
        command.stderr(std::process::Stdio::null());
        Stream::of(command.spawn()?, slot)
    }
}
