//! What children write.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{ChildStderr, ChildStdout},
    sync::mpsc,
};

/// Most that is kept of a child's output without a log file.
const CAPTURE: usize = 1024 * 1024;

/// The end of a log file.
#[derive(Debug)]
pub struct LogTail;

impl LogTail {
    /// The last `bytes` of the file, as text; empty when there is no regular file. Links are not followed.
    #[must_use]
    pub fn read(path: &Path, bytes: u64) -> String {
        let read = || {
            let mut file = open_regular(path)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
            let mut buffer = Vec::new();
            file.take(bytes).read_to_end(&mut buffer)?;
            Ok::<_, std::io::Error>(buffer)
        };
        String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
    }
}

/// Opens a file in a folder that code which is not ours may write to: never through a link (it may lead to a secret) and
/// never a named pipe (it would hang).
pub fn open_regular(path: &Path) -> std::io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file"))
}

/// All bytes of such a file; an error when there are more than `limit`.
pub fn read_regular(path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, format!("longer than {limit} bytes")));
    }
    Ok(bytes)
}

/// Both streams in the order of arrival.
pub(crate) async fn capture(out: Option<ChildStdout>, err: Option<ChildStderr>) -> String {
    let (sender, mut receiver) = mpsc::channel::<Vec<u8>>(16);
    let readers = [out.map(|s| Box::pin(s) as Stream), err.map(|s| Box::pin(s) as Stream)];
    for stream in readers.into_iter().flatten() {
        tokio::spawn(pump(stream, sender.clone()));
    }
    drop(sender);
    let mut all = Vec::new();
    while let Some(chunk) = receiver.recv().await {
        all.extend_from_slice(&chunk);
        if all.len() > CAPTURE {
            all.drain(..all.len() - CAPTURE);
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

type Stream = std::pin::Pin<Box<dyn AsyncRead + Send>>;

async fn pump(mut stream: Stream, sender: mpsc::Sender<Vec<u8>>) {
    let mut buffer = vec![0; 8192];
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        if sender.send(buffer[..n].to_vec()).await.is_err() {
            break;
        }
    }
}
