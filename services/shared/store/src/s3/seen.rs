//! What an operation saw of S3: object_store's errors are text, this is what they were made of.

use std::{
    error::Error as _,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use async_trait::async_trait;
use futures::StreamExt as _;
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService,
        ReqwestConnector,
    },
};
use time::{PrimitiveDateTime, macros::format_description};

/// As much of an error's body is read.
const BODY: usize = 64 << 10;

tokio::task_local! {
    static SEEN: Seen;
}

/// What the requests of one operation came to; shared with who runs it, who may give up on it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Last>>);

/// The last answer, and the last failure.
#[derive(Debug, Clone, Default)]
pub(crate) struct Last {
    /// Requests sent.
    pub(crate) tries: u32,
    /// How far the clock of the other side is ahead, in seconds.
    pub(crate) ahead: Option<i64>,
    pub(crate) fault: Option<Fault>,
}

/// Why a request failed.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    /// Who was asked: host and port.
    pub(crate) host: String,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// An answer that says no.
    Refused {
        status: u16,
        /// S3's word for it, e.g. `NoSuchBucket`; empty for an answer without body.
        code: String,
        message: String,
        /// The region that the bucket is in, where the answer tells.
        region: String,
    },
    /// No answer, or not all of it.
    Broken { how: HttpErrorKind, cause: String },
}

impl Seen {
    pub(crate) fn last(&self) -> Last {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, change: impl FnOnce(&mut Last)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Runs an operation; what its requests come to is noted in `seen`.
pub(crate) async fn observed<T>(seen: Seen, operation: impl Future<Output = T>) -> T {
    SEEN.scope(seen, operation).await
}

fn note(change: impl FnOnce(&mut Last)) {
    SEEN.try_with(|seen| seen.note(change)).ok();
}

/// Connects as object_store does, and looks at what comes back.
#[derive(Debug)]
pub(super) struct Watching;

impl HttpConnector for Watching {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Watched { inner }))
    }
}

#[derive(Debug)]
struct Watched {
    inner: HttpClient,
}

#[async_trait]
impl HttpService for Watched {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        note(|last| last.tries += 1);
        let answer = match self.inner.execute(request).await {
            Ok(answer) => answer,
            Err(error) => {
                let kind = broken(&error);
                note(|last| last.fault = Some(Fault { host, kind }));
                return Err(error);
            }
        };
        let ahead = answer.headers().get(http::header::DATE).and_then(|date| ahead(date.to_str().ok()?));
        note(|last| last.ahead = ahead.or(last.ahead));
        let status = answer.status();
        if status.is_success() || status == http::StatusCode::NOT_MODIFIED {
            // What breaks later breaks in the body.
            return Ok(answer.map(|body| watch_body(body, host)));
        }
        let (parts, body) = answer.into_parts();
        let body = beginning(body).await;
        let text = String::from_utf8_lossy(&body);
        let header = parts.headers.get("x-amz-bucket-region").and_then(|region| region.to_str().ok());
        let kind = Kind::Refused {
            status: status.as_u16(),
            code: element(&text, "Code"),
            message: element(&text, "Message"),
            region: header.map_or_else(|| element(&text, "Region"), clean),
        };
        note(|last| last.fault = Some(Fault { host, kind }));
        Ok(HttpResponse::from_parts(parts, body.into()))
    }
}

fn watch_body(body: HttpResponseBody, host: String) -> HttpResponseBody {
    use http_body_util::BodyExt as _;
    HttpResponseBody::new(body.map_err(move |error| {
        let kind = broken(&error);
        note(|last| last.fault = Some(Fault { host: host.clone(), kind }));
        error
    }))
}

async fn beginning(body: HttpResponseBody) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut pieces = body.bytes_stream();
    while let Some(Ok(piece)) = pieces.next().await {
        bytes.extend_from_slice(&piece);
        if bytes.len() >= BODY {
            bytes.truncate(BODY);
            break;
        }
    }
    bytes
}

fn broken(error: &HttpError) -> Kind {
    // The innermost cause is the one that means something: "connection refused", "invalid peer certificate".
    let mut cause = error.source();
    let mut text = error.to_string();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    Kind::Broken { how: error.kind(), cause: clean(&text) }
}

/// How many seconds that HTTP date is ahead of now.
fn ahead(date: &str) -> Option<i64> {
    let format =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    let theirs = PrimitiveDateTime::parse(date, &format).ok()?.assume_utc();
    let ours = time::OffsetDateTime::from(SystemTime::now());
    Some((theirs - ours).whole_seconds())
}

/// The text of an XML element without children; the first of that name.
fn element(xml: &str, name: &str) -> String {
    let inner = || {
        let (_, rest) = xml.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
    };
    let text = inner().unwrap_or_default();
    clean(
        &text
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&apos;", "'")
            .replace("&amp;", "&"),
    )
}

/// Foreign text as it may stand in a message: one line, not long.
fn clean(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
    line.trim().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_read_out_of_its_body() {
        let xml =
            "<?xml version=\"1.0\"?><Error><Code>NoSuchBucket</Code><Message>no &lt;b&gt;\nhere.</Message></Error>";
        assert_eq!((element(xml, "Code").as_str(), element(xml, "Message").as_str()), ("NoSuchBucket", "no <b> here"));
        assert_eq!(element("<html>", "Code"), "");
    }

    #[test]
    fn a_date_tells_how_far_clocks_are_apart() {
        let an_hour_ago = time::OffsetDateTime::now_utc() - time::Duration::hours(1);
        let format =
            format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
        let found = ahead(&an_hour_ago.format(&format).unwrap()).unwrap();
        assert!((-3605..=-3595).contains(&found), "{found}");
        assert_eq!(ahead("yesterday"), None);
    }
}
