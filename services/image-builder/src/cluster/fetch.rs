//! The init container of a build: fetches the build context by its signed URL and unpacks it.

use std::{path::Path, process::ExitCode, time::Duration};

use futures::StreamExt as _;
use kfops_core::{Digest, Failure, Reason};
use kfops_store::{ArchiveLimits, SourceRef, Store, extract_source};
use tokio::io::AsyncWriteExt as _;

/// The signed URL.
pub(super) const URL: &str = "KFOPS_CONTEXT_URL";
/// What the archive's bytes digest to.
pub(super) const DIGEST: &str = "KFOPS_CONTEXT_DIGEST";
/// The folder that becomes the context; its parent is a volume.
pub(super) const FOLDER: &str = "KFOPS_CONTEXT_FOLDER";

const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_secs(2);
/// Longest silence.
const SILENCE: Duration = Duration::from_secs(60);
/// A context is unpacked from an archive that is no larger than this.
const MAX_ARCHIVE: u64 = 2 << 30;

/// What `kfops-image-builder fetch-context` does. What goes wrong is the last line of the log; the URL is in none.
pub async fn fetch_context() -> ExitCode {
    match fetch().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

async fn fetch() -> Result<(), Failure> {
    let variable = |name: &str| {
        std::env::var(name).map_err(|_| Failure::new(Reason::InvalidArgument, format!("{name} is not set")))
    };
    let (url, into) = (variable(URL)?, variable(FOLDER)?);
    let digest =
        Digest::parse(&variable(DIGEST)?).map_err(|error| Failure::new(Reason::InvalidArgument, error.to_string()))?;
    let into = Path::new(&into);
    let place = tempfile::tempdir_in(into.parent().unwrap_or(into)).map_err(Failure::internal)?;
    let archive = place.path().join("context");
    let mut attempt = 1;
    while let Err(failure) = download(&url, &archive).await {
        if attempt == ATTEMPTS || !failure.retryable {
            return Err(failure);
        }
        eprintln!("{failure}; tried again");
        attempt += 1;
        tokio::time::sleep(PAUSE).await;
    }
    let store = Store::open(format!("file://{}", place.path().display()))?;
    // A container that is started again finds what the first one left.
    tokio::fs::remove_dir_all(into).await.ok();
    extract_source(&store, &SourceRef { key: "context".into(), digest }, into, ArchiveLimits::default()).await
}

async fn download(url: &str, into: &Path) -> Result<(), Failure> {
    let failed = |cause: String| {
        Failure::new(Reason::SourceUnavailable, format!("the build context cannot be fetched: {cause}"))
    };
    // Errors of reqwest name the URL, and with it the signature.
    let of = |error: reqwest::Error| failed(root_cause(&error.without_url()));
    let client = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(SILENCE)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(of)?;
    let answer = client.get(url).send().await.map_err(of)?;
    let status = answer.status();
    if !status.is_success() {
        let failure = failed(format!("the object store answers {status}"));
        return Err(Failure { retryable: status.is_server_error(), ..failure });
    }
    let mut file = tokio::fs::File::create(into).await.map_err(Failure::internal)?;
    let (mut pieces, mut size) = (answer.bytes_stream(), 0u64);
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(of)?;
        size += piece.len() as u64;
        if size > MAX_ARCHIVE {
            return Err(Failure::new(Reason::SourceInvalid, "the build context is too large"));
        }
        file.write_all(&piece).await.map_err(|error| failed(error.to_string()))?;
    }
    file.flush().await.map_err(|error| failed(error.to_string()))
}

fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
