//! The log of a pod's containers, as it is written: init containers first, then the one that counts.
//! A cut connection is begun again behind the last line that was read.

use std::{io, time::Duration};

use futures::{AsyncBufRead, AsyncBufReadExt as _};
use k8s_openapi::{
    api::core::v1::{ContainerState, Pod},
    jiff::Timestamp,
};
use kube::{Api, api::LogParams};
use tokio::sync::watch;

use super::run::Observer;

/// A longer line is passed on in pieces.
const MAX_LINE: usize = 64 << 10;
/// Of the log, for failures.
const TAIL: usize = 16 << 10;
/// Between two attempts to read.
const PAUSE: Duration = Duration::from_millis(300);

/// What the follower knows of the pod.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) pod: Option<Pod>,
    /// The pod will not change any more.
    pub(super) last: bool,
}

/// Reads a pod's log.
pub(super) struct Follower<'a> {
    pub(super) pods: Api<Pod>,
    pub(super) container: &'a str,
    pub(super) reader: Reader<'a>,
}

/// Passes lines on, up to a limit, and keeps the last ones.
pub(super) struct Reader<'a> {
    observer: &'a dyn Observer,
    max: u64,
    read: u64,
    tail: Vec<u8>,
}

/// The container wrote more than it may.
#[derive(Debug)]
pub(super) struct TooMuch;

/// The last line that was passed on. Lines of one time stamp are counted: the API knows no finer place.
#[derive(Debug, Default, Clone, Copy)]
struct Mark {
    at: Option<Timestamp>,
    lines: u64,
}

impl Follower<'_> {
    /// Returns when everything has been read, or the pod is gone.
    pub(super) async fn follow(&mut self, mut seen: watch::Receiver<Seen>) -> Result<(), TooMuch> {
        let mut done = Vec::new();
        while let Some((pod, container)) = next(&mut seen, self.container, &done).await {
            self.container_log(&mut seen, &pod, &container).await?;
            if container == self.container {
                return Ok(());
            }
            done.push(container);
        }
        Ok(())
    }

    /// Everything that one container writes.
    async fn container_log(
        &mut self,
        seen: &mut watch::Receiver<Seen>,
        pod: &str,
        container: &str,
    ) -> Result<(), TooMuch> {
        let mut mark = Mark::default();
        loop {
            // Known before the log is read: then the end of the log is the end of the container.
            let ended = {
                let seen = seen.borrow_and_update();
                seen.last
                    || seen.pod.as_ref().is_none_or(|pod| state(pod, container).is_some_and(|s| s.terminated.is_some()))
            };
            let parameters = LogParams {
                container: Some(container.to_owned()),
                follow: true,
                timestamps: true,
                since_time: mark.at,
                ..LogParams::default()
            };
            match self.pods.log_stream(pod, &parameters).await {
                Ok(stream) => {
                    let mut stream = std::pin::pin!(stream);
                    if let Err(error) = self.reader.pass_on(&mut stream, &mut mark, ended).await? {
                        tracing::debug!(pod, container, %error, "the log was cut");
                        if ended && error.kind() == io::ErrorKind::InvalidData {
                            return Ok(());
                        }
                    } else if ended {
                        return Ok(());
                    }
                }
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
                Err(error) => {
                    if let kube::Error::Api(status) = &error
                        && status.code == 403
                    {
                        tracing::warn!(pod, container, %error, "the log cannot be read");
                        return Ok(());
                    }
                    if ended {
                        tracing::warn!(pod, container, %error, "the end of the log cannot be read");
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(observer: &'a dyn Observer, max: u64) -> Self {
        Self { observer, max, read: 0, tail: Vec::new() }
    }

    /// Passes lines on until the stream ends. The outer error ends everything, the inner one this stream.
    async fn pass_on(
        &mut self,
        stream: &mut (impl AsyncBufRead + Unpin),
        mark: &mut Mark,
        ended: bool,
    ) -> Result<io::Result<()>, TooMuch> {
        let (before, mut line) = (*mark, Vec::new());
        let (mut again, mut skipping) = (0, false);
        loop {
            line.clear();
            let whole = match next_line(stream, &mut line).await {
                Ok(true) => true,
                Ok(false) if line.is_empty() => return Ok(Ok(())),
                Ok(false) => false,
                Err(error) => return Ok(Err(error)),
            };
            // Cut off in the middle: it comes again.
            if !whole && !ended && line.len() < MAX_LINE {
                return Ok(Ok(()));
            }
            let text = match stamped(&line) {
                Some((at, text)) => {
                    skipping = before.at.is_some_and(|last| at < last || (at == last && again < before.lines));
                    if skipping {
                        again += u64::from(before.at == Some(at));
                        continue;
                    }
                    *mark = Mark { at: Some(at), lines: if mark.at == Some(at) { mark.lines + 1 } else { 1 } };
                    text
                }
                // The rest of a long line.
                None if skipping => continue,
                None => line.as_slice(),
            };
            self.observer.log(text);
            self.tail.extend_from_slice(text);
            if self.tail.len() > 2 * TAIL {
                self.tail.drain(..self.tail.len() - TAIL);
            }
            self.read += text.len() as u64;
            if self.read > self.max {
                return Err(TooMuch);
            }
        }
    }

    /// The end of what was read.
    pub(super) fn tail(&self) -> String {
        String::from_utf8_lossy(&self.tail).into_owned()
    }
}

/// The next container that has begun, in the order in which they do; None when no other will.
async fn next(seen: &mut watch::Receiver<Seen>, main: &str, done: &[String]) -> Option<(String, String)> {
    loop {
        {
            let seen = seen.borrow_and_update();
            let pod = seen.pod.as_ref();
            let spec = pod.and_then(|pod| pod.spec.as_ref());
            let inits = spec.iter().flat_map(|spec| spec.init_containers.iter().flatten()).map(|c| c.name.as_str());
            let begun = inits.chain([main]).filter(|name| !done.iter().any(|d| d == name)).find(|name| {
                let state = pod.and_then(|pod| state(pod, name));
                state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
            });
            if let Some((pod, container)) = pod.and_then(|pod| pod.metadata.name.clone()).zip(begun) {
                return Some((pod, container.to_owned()));
            }
            if seen.last {
                return None;
            }
        }
        seen.changed().await.ok()?;
    }
}

fn state<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerState> {
    let status = pod.status.as_ref()?;
    let all = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    all.into_iter().find(|status| status.name == container)?.state.as_ref()
}

/// Reads up to a line break, or as much as a line may have; false at the end of the stream or of the piece.
async fn next_line(stream: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> io::Result<bool> {
    loop {
        let buffer = stream.fill_buf().await?;
        if buffer.is_empty() {
            return Ok(false);
        }
        let room = &buffer[..buffer.len().min(MAX_LINE.saturating_sub(line.len()))];
        let end = room.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let taken = end.unwrap_or(room.len());
        line.extend_from_slice(&room[..taken]);
        stream.consume_unpin(taken);
        if end.is_some() {
            return Ok(true);
        }
        if line.len() >= MAX_LINE {
            return Ok(false);
        }
    }
}

/// `2026-01-02T03:04:05.678901234Z text`.
fn stamped(line: &[u8]) -> Option<(Timestamp, &[u8])> {
    let space = line.iter().take(40).position(|byte| *byte == b' ')?;
    let at = std::str::from_utf8(line.get(..space)?).ok()?.parse().ok()?;
    Some((at, line.get(space + 1..)?))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use kfops_core::Failure;

    use super::*;

    #[derive(Default)]
    struct Lines(Mutex<String>);

    impl Observer for Lines {
        fn log(&self, bytes: &[u8]) {
            self.0.lock().unwrap().push_str(std::str::from_utf8(bytes).unwrap());
        }

        fn waits(&self, _: &Failure) {}
    }

    async fn read(pieces: &[(&str, bool)], max: u64) -> (String, bool) {
        let lines = Lines::default();
        let mut reader = Reader::new(&lines, max);
        let (mut mark, mut too_much) = (Mark::default(), false);
        for (text, ended) in pieces {
            too_much |= reader.pass_on(&mut text.as_bytes(), &mut mark, *ended).await.is_err();
        }
        (lines.0.into_inner().unwrap(), too_much)
    }

    const FIRST: &str = "2026-01-02T03:04:05.1Z a\n2026-01-02T03:04:05.2Z b\n2026-01-02T03:04:05.2Z b\n";

    #[tokio::test]
    async fn a_cut_log_goes_on_behind_its_last_line() {
        let again =
            "2026-01-02T03:04:05.2Z b\n2026-01-02T03:04:05.2Z b\n2026-01-02T03:04:05.2Z c\n2026-01-02T03:04:06Z d\n";
        assert_eq!(read(&[(FIRST, false), (again, true)], 100).await, ("a\nb\nb\nc\nd\n".into(), false));
    }

    #[tokio::test]
    async fn half_a_line_is_read_again_as_a_whole() {
        let half = "2026-01-02T03:04:05.1Z a\n2026-01-02T03:04:05.2Z hal";
        let whole = "2026-01-02T03:04:05.1Z a\n2026-01-02T03:04:05.2Z half\n2026-01-02T03:04:05.3Z end";
        assert_eq!(read(&[(half, false), (whole, true)], 100).await.0, "a\nhalf\nend");
    }

    #[tokio::test]
    async fn the_log_is_bounded_and_long_lines_come_in_pieces() {
        assert!(read(&[(FIRST, true)], 5).await.1);
        let long = format!("2026-01-02T03:04:05.1Z {}\n", "x".repeat(3 * MAX_LINE));
        assert_eq!(read(&[(&long, false), (&long, true)], 1 << 20).await.0.len(), 3 * MAX_LINE + 1);
    }
}
