//! Answers in the form of the OCI distribution specification.

use axum::{
    body::Body,
    http::{HeaderName, StatusCode, request::Parts},
    response::Response,
};
use kfops_core::{Failure, Reason};

/// The specification's error codes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    Unsupported,
    Unknown,
}

impl Code {
    const fn as_str(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::Unsupported => "UNSUPPORTED",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// A request that is not carried out.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    code: Code,
    message: String,
}

impl Refused {
    pub(super) fn new(status: StatusCode, code: Code, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    pub(super) fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::error!(status = %self.status, message = self.message, "embedded registry");
        }
        let body = serde_json::json!({"errors": [{"code": self.code.as_str(), "message": self.message}]}).to_string();
        respond(self.status, &[("content-type", "application/json")], body).unwrap_or_default()
    }
}

impl From<std::io::Error> for Refused {
    fn from(error: std::io::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown, error.to_string())
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        match failure.reason {
            Reason::InvalidArgument => Self::new(StatusCode::BAD_REQUEST, Code::ManifestInvalid, failure.message),
            Reason::NotFound => Self::new(StatusCode::NOT_FOUND, Code::ManifestBlobUnknown, failure.message),
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown, failure.message),
        }
    }
}

/// An answer with the version header that clients look for.
pub(super) fn respond(
    status: StatusCode,
    headers: &[(&'static str, &str)],
    body: impl Into<Body>,
) -> Result<Response, Refused> {
    let mut response = Response::builder().status(status).header("docker-distribution-api-version", "registry/2.0");
    for (name, value) in headers {
        response = response.header(HeaderName::from_static(name), *value);
    }
    response
        .body(body.into())
        .map_err(|error| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Unknown, error.to_string()))
}

/// The value of a parameter of the query.
pub(super) fn query(parts: &Parts, key: &str) -> Option<String> {
    let query = parts.uri.query()?;
    query.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name == key).then(|| decode(value))
    })
}

/// Percent-decoding; what is not valid stays as it is, and is then refused by whoever checks it.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (byte, hex) {
            (b'%', Some(value)) => {
                out.push(value);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn digests_are_decoded() {
        assert_eq!(super::decode("sha256%3Aab"), "sha256:ab");
        assert_eq!(super::decode("a%zz%4"), "a%zz%4");
    }
}
