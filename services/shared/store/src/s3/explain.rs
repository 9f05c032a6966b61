//! S3's refusals and silences in Kfops' words: which object, which bucket, and what to do.

use kfops_core::{Failure, Reason};
use object_store::{Error, client::HttpErrorKind};

use super::seen::{Fault, Kind, Last};

/// Beyond this S3 refuses a signature, in seconds; half of it is worth a word.
const SKEW: i64 = 15 * 60;

/// What messages say about a store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    /// As it is configured: `s3://bucket/prefix`, `file:///folder`.
    pub(crate) url: String,
    /// Empty for a folder.
    pub(crate) bucket: String,
    /// Where S3 answers.
    pub(crate) endpoint: String,
    pub(crate) region: String,
    /// Whose credentials are used, in words.
    pub(crate) identity: String,
}

impl Place {
    fn whole(&self) -> String {
        if self.endpoint.is_empty() { self.url.clone() } else { format!("{} at {}", self.url, self.endpoint) }
    }

    /// Whether `host` is not S3 itself: then credentials were asked for.
    fn elsewhere(&self, host: &str) -> bool {
        !host.is_empty()
            && !self.endpoint.is_empty()
            && !format!("{}/", self.endpoint).contains(&format!("{}/", strip(host, &self.bucket)))
    }
}

/// The host without the bucket before it.
fn strip<'a>(host: &'a str, bucket: &str) -> &'a str {
    host.strip_prefix(bucket).and_then(|rest| rest.strip_prefix('.')).unwrap_or(host)
}

/// The failure of an operation on `key`.
pub(crate) fn failure(place: &Place, key: &str, error: &Error, last: &Last) -> Failure {
    let missing = || Failure::new(Reason::NotFound, format!("no object {key} in the store {}", place.url)).on(key);
    match (error, last.fault.as_ref()) {
        (Error::NotFound { .. }, Some(Fault { kind: Kind::Refused { code, .. }, .. })) if !of_object(code) => {}
        (Error::NotFound { .. }, _) => return missing(),
        (Error::AlreadyExists { .. }, Some(Fault { kind: Kind::Refused { code, .. }, .. })) if is_conflict(code) => {}
        (Error::AlreadyExists { .. } | Error::Precondition { .. }, _) => {
            return Failure::new(Reason::AlreadyExists, format!("there is an object {key} in the store already"))
                .on(key);
        }
        (_, None) => {
            let text = format!("object {key} of {}: {}", place.whole(), plain(error));
            return Failure::new(Reason::StoreUnavailable, text).on(key);
        }
        _ => {}
    }
    told(place, key, last)
}

/// The failure of an operation that was given up.
pub(crate) fn silent(place: &Place, key: &str, seconds: u64, last: &Last) -> Failure {
    if last.fault.is_some() {
        return told(place, key, last);
    }
    let text = format!("object {key} of {}: the store did not answer within {seconds} s", place.whole());
    Failure::new(Reason::StoreUnavailable, text).on(key)
}

fn of_object(code: &str) -> bool {
    matches!(code, "" | "NoSuchKey" | "NotFound" | "NoSuchUpload" | "NoSuchVersion")
}

/// Others write at this moment; whether there is an object is not said.
fn is_conflict(code: &str) -> bool {
    matches!(code, "OperationAborted" | "ConditionalRequestConflict")
}

/// What happened, whether it may pass, what to do.
struct Told {
    what: String,
    passes: bool,
    action: String,
}

fn told(place: &Place, key: &str, last: &Last) -> Failure {
    let Some(fault) = &last.fault else {
        return Failure::new(Reason::StoreUnavailable, format!("object {key} of {} cannot be had", place.whole()))
            .on(key);
    };
    let told = match &fault.kind {
        Kind::Broken { how, cause } => broken(place, fault, *how, cause),
        Kind::Refused { .. } if place.elsewhere(&fault.host) => Told {
            what: format!("{} gives no credentials for {}: {}", fault.host, place.identity, answer(&fault.kind)),
            passes: false,
            action: "look at the role, at who may assume it, and at the service account's token".to_owned(),
        },
        Kind::Refused { status, code, region, .. } => refused(place, fault, *status, code, region, last),
    };
    let tries = if told.passes && last.tries > 1 { format!(", tried {} times", last.tries) } else { String::new() };
    let text = format!("object {key} of {}: {}{tries}", place.whole(), told.what);
    let failure = Failure::new(Reason::StoreUnavailable, text).on(key).action(told.action);
    Failure { retryable: told.passes, ..failure }
}

fn refused(place: &Place, fault: &Fault, status: u16, code: &str, region: &str, last: &Last) -> Told {
    let said = answer(&fault.kind);
    let told = |what: String, passes, action: &str| Told { what, passes, action: action.to_owned() };
    let skewed = last.ahead.filter(|ahead| ahead.abs() > SKEW / 2);
    match (status, code) {
        (_, "RequestTimeTooSkewed") | (403, "" | "SignatureDoesNotMatch" | "AccessDenied")
            if skewed.is_some() || code == "RequestTimeTooSkewed" =>
        {
            let by = skewed.map(|ahead| format!(" by {}", apart(ahead))).unwrap_or_default();
            told(
                format!("the clocks of this machine and of the store differ{by} ({said})"),
                true,
                "set the clocks right (NTP), here or at the store",
            )
        }
        (_, "InvalidAccessKeyId" | "NotSignedUp" | "AccountProblem" | "InvalidClientTokenId") => told(
            format!("the store does not know {} ({said})", place.identity),
            false,
            "put keys that the store knows into the secret",
        ),
        (_, "SignatureDoesNotMatch") => told(
            format!("the secret key does not belong to the access key: {} ({said})", place.identity),
            false,
            "put the right secret key into the secret; a proxy that changes requests looks the same",
        ),
        (_, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" | "RequestExpired") => {
            told(format!("the credentials have expired: {} ({said})", place.identity), true, "renew them")
        }
        (_, "NoSuchBucket") | (404, _) => told(
            format!("there is no bucket {} ({said})", place.bucket),
            false,
            "make the bucket, or correct `store.url` and `store.endpoint`",
        ),
        (300..=399, _)
        | (400, "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" | "InvalidRegion") => {
            let (where_, action) = match region {
                "" => (
                    format!("the bucket is not in region {}", place.region),
                    "set `store.region` to the bucket's region".to_owned(),
                ),
                region => (
                    format!("the bucket is in region {region}, not {}", place.region),
                    format!("set `store.region: {region}`"),
                ),
            };
            Told { what: format!("{where_} ({said})"), passes: false, action }
        }
        (401 | 403, _) => told(
            format!("access denied for {} ({said})", place.identity),
            false,
            "allow s3:GetObject, s3:PutObject, s3:DeleteObject, s3:AbortMultipartUpload on the bucket's objects and \
             s3:ListBucket on the bucket",
        ),
        (409, _) => told(format!("another request is in the way ({said})"), true, "try again"),
        (507, _) | (_, "XMinioStorageFull" | "InsufficientStorage") => {
            told(format!("the store is full ({said})"), true, "make room in the store")
        }
        (405 | 501, _) => told(
            format!("what answers cannot do this ({said})"),
            false,
            "look whether `store.endpoint` is S3's API, not its console",
        ),
        (408 | 429 | 500..=599, _) => {
            told(format!("the store is overloaded or failing ({said})"), true, "try again later; look at the store")
        }
        _ => told(format!("the store refuses ({said})"), false, "look at the store's log"),
    }
}

fn broken(place: &Place, fault: &Fault, how: HttpErrorKind, cause: &str) -> Told {
    let host = if place.elsewhere(&fault.host) { fault.host.as_str() } else { place.endpoint.as_str() };
    let lower = cause.to_lowercase();
    let (what, action) = if lower.contains("certificate") {
        (
            format!("{host} shows a certificate that is not believed: {cause}"),
            "set `store.ca_file` to the authority that signed it",
        )
    } else if lower.contains("invalidcontenttype") || lower.contains("corrupt message") {
        (
            format!("{host} does not speak TLS"),
            "correct `store.endpoint`: it may be http, which `store.allow_http` allows",
        )
    } else if lower.contains("lookup") || lower.contains("dns") {
        (format!("the name in {host} is not known: {cause}"), "correct `store.endpoint`; look at the cluster's DNS")
    } else {
        match how {
            HttpErrorKind::Connect => (
                format!("{host} cannot be reached: {cause}"),
                "look whether the store runs, whether `store.endpoint` is right, and whether a NetworkPolicy or the mesh is in the way",
            ),
            HttpErrorKind::Timeout => (
                format!("{host} is silent for too long: {cause}"),
                "try again; look at the store's load, or raise `store.timeout`",
            ),
            _ => (format!("the connection to {host} broke: {cause}"), "try again; look at the store and the way to it"),
        }
    };
    Told { what, passes: true, action: action.to_owned() }
}

/// The answer in a few words.
fn answer(kind: &Kind) -> String {
    match kind {
        Kind::Refused { status, code, message, .. } => {
            let parts = [status.to_string(), code.clone()].into_iter().filter(|part| !part.is_empty());
            let head = parts.collect::<Vec<_>>().join(" ");
            if message.is_empty() { head } else { format!("{head}: {message}") }
        }
        Kind::Broken { cause, .. } => cause.clone(),
    }
}

/// A difference of clocks in words.
pub(crate) fn apart(ahead: i64) -> String {
    let whose = if ahead > 0 { "the store's is ahead" } else { "the store's is behind" };
    match ahead.abs() {
        seconds @ ..=599 => format!("{seconds} s ({whose})"),
        seconds => format!("{} min ({whose})", seconds / 60),
    }
}

/// object_store's words, on one line.
fn plain(error: &Error) -> String {
    // "Generic LocalFileSystem error: " says nothing.
    let text = match error {
        Error::Generic { source, .. } => source.to_string(),
        error => error.to_string(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
}
