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
    /// The last `bytes` of the file, as text; empty when there is no file.
    #[must_use]
    pub fn read(path: &Path, bytes: u64) -> String {
        let read = || {
            let mut file = File::open(path)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
            let mut buffer = Vec::new();
            file.take(bytes).read_to_end(&mut buffer)?;
            Ok::<_, std::io::Error>(buffer)
        };
        String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
    }
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
