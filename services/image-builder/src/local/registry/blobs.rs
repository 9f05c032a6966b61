//! Reading blobs, whole or a range.

use std::io::SeekFrom;

use axum::{
    body::Body,
    http::{Method, StatusCode, request::Parts},
    response::Response,
};
use kfops_core::Digest;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::{
    Storage,
    answer::{Code, Refused, respond},
};

pub(super) async fn get(storage: &Storage, digest: &Digest, parts: &Parts) -> Result<Response, Refused> {
    let unknown = |_| Refused::new(StatusCode::NOT_FOUND, Code::BlobUnknown, format!("no blob {digest}"));
    let mut file = tokio::fs::File::open(storage.blob_path(digest)).await.map_err(unknown)?;
    let size = file.metadata().await?.len();
    let range = parts.headers.get("range").and_then(|value| value.to_str().ok());
    let (status, first, length) = match range.map(|range| parse_range(range, size)) {
        None | Some(Range::Whole) => (StatusCode::OK, 0, size),
        Some(Range::Part(first, last)) => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        Some(Range::Outside) => {
            let message = format!("the blob has {size} bytes");
            return Err(Refused::new(StatusCode::RANGE_NOT_SATISFIABLE, Code::BlobUnknown, message));
        }
    };
    let length_text = length.to_string();
    let content_range = format!("bytes {first}-{}/{size}", (first + length).saturating_sub(1));
    let mut headers = vec![
        ("content-type", "application/octet-stream"),
        ("content-length", length_text.as_str()),
        ("docker-content-digest", digest.as_str()),
        ("accept-ranges", "bytes"),
    ];
    if status == StatusCode::PARTIAL_CONTENT {
        headers.push(("content-range", &content_range));
    }
    if parts.method == Method::HEAD {
        return respond(status, &headers, Body::empty());
    }
    file.seek(SeekFrom::Start(first)).await?;
    let stream = ReaderStream::with_capacity(file.take(length), 256 * 1024);
    respond(status, &headers, Body::from_stream(stream))
}

#[derive(Debug, PartialEq, Eq)]
enum Range {
    Whole,
    Part(u64, u64),
    Outside,
}

/// One range of bytes; several, or other units, are answered with the whole (RFC 9110, section 14.2).
fn parse_range(header: &str, size: u64) -> Range {
    let Some((first, last)) =
        header.strip_prefix("bytes=").filter(|r| !r.contains(',')).and_then(|r| r.split_once('-'))
    else {
        return Range::Whole;
    };
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), _) if first >= size => Range::Outside,
        (Ok(first), Ok(last)) if last >= first => Range::Part(first, last.min(size - 1)),
        (Ok(first), Err(_)) if last.is_empty() => Range::Part(first, size - 1),
        (Err(_), Ok(suffix)) if first.is_empty() && suffix > 0 && size > 0 => {
            Range::Part(size.saturating_sub(suffix), size - 1)
        }
        _ => Range::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(parse_range("bytes=0-9", 100), Range::Part(0, 9));
        assert_eq!(parse_range("bytes=90-200", 100), Range::Part(90, 99));
        assert_eq!(parse_range("bytes=90-", 100), Range::Part(90, 99));
        assert_eq!(parse_range("bytes=-10", 100), Range::Part(90, 99));
        assert_eq!(parse_range("bytes=100-", 100), Range::Outside);
        assert_eq!(parse_range("bytes=0-", 0), Range::Outside);
        for whole in ["bytes=5-1", "bytes=0-1,3-4", "items=1-2", "bytes=x"] {
            assert_eq!(parse_range(whole, 100), Range::Whole, "{whole}");
        }
    }
}
