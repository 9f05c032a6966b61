//! Reading a body with limits: its size, the time it may take, the memory of all bodies together.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A body in memory; its share of the memory is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

/// There is no whole body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    TooLarge,
    TooSlow,
    Broken(String),
    NoMemory,
}

/// Reads the whole body; `see` gets every piece as it arrives.
pub(super) async fn read(
    body: &mut Body,
    (max, timeout): (usize, Duration),
    memory: &Arc<Semaphore>,
    mut see: impl FnMut(&[u8]),
) -> Result<Held, BodyError> {
    let whole = async {
        let mut bytes = BytesMut::new();
        let mut share: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| BodyError::Broken(error.to_string()))?;
            let Some(data) = frame.data_ref() else { continue };
            if data.len() > max.saturating_sub(bytes.len()) {
                return Err(BodyError::TooLarge);
            }
            let more = u32::try_from(data.len()).map_err(|_| BodyError::TooLarge)?;
            let permit = Arc::clone(memory).try_acquire_many_owned(more).map_err(|_| BodyError::NoMemory)?;
            match &mut share {
                Some(share) => share.merge(permit),
                None => share = Some(permit),
            }
            see(data);
            bytes.extend_from_slice(data);
        }
        Ok(Held { bytes: bytes.freeze(), _share: share })
    };
    tokio::time::timeout(timeout, whole).await.unwrap_or(Err(BodyError::TooSlow))
}

/// Reads and forgets what is left, within limits.
pub(super) async fn discard(mut body: Body) {
    const MOST: usize = 64 << 20;
    let rest = async {
        let mut seen = 0;
        while let Some(Ok(frame)) = body.frame().await
            && seen < MOST
        {
            seen += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    tokio::time::timeout(Duration::from_secs(5), rest).await.ok();
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    async fn of(parts: Vec<&'static [u8]>, max: usize, memory: &Arc<Semaphore>) -> Result<Held, BodyError> {
        let parts = parts.into_iter().map(Ok::<_, std::io::Error>);
        let mut body = Body::from_stream(stream::iter(parts));
        read(&mut body, (max, Duration::from_secs(5)), memory, |_| ()).await
    }

    #[tokio::test]
    async fn size_is_counted_while_reading() {
        let memory = Arc::new(Semaphore::new(100));
        assert_eq!(of(vec![b"abc", b"de"], 5, &memory).await.unwrap().bytes, "abcde");
        assert_eq!(of(vec![b"abc", b"def"], 5, &memory).await.unwrap_err(), BodyError::TooLarge);
        assert_eq!(memory.available_permits(), 100);
    }

    #[tokio::test]
    async fn memory_is_shared_and_given_back() {
        let memory = Arc::new(Semaphore::new(8));
        let first = of(vec![b"abcde"], 8, &memory).await.unwrap();
        assert_eq!(of(vec![b"abcde"], 8, &memory).await.unwrap_err(), BodyError::NoMemory);
        drop(first);
        assert!(of(vec![b"abcde"], 8, &memory).await.is_ok());
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_cut_off() {
        let memory = Arc::new(Semaphore::new(8));
        let mut body = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let read = read(&mut body, (8, Duration::from_millis(20)), &memory, |_| ()).await;
        assert_eq!(read.unwrap_err(), BodyError::TooSlow);
    }
}
