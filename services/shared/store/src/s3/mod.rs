//! S3: AWS, MinIO, SeaweedFS and others of its kind.

mod credentials;
mod explain;
mod seen;

use std::{sync::Arc, time::Duration};

use kfops_core::{Failure, Reason};
use object_store::{
    BackoffConfig, Certificate, ClientOptions, HeaderValue, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
    path::Path as Key,
};

pub(crate) use self::{
    explain::{Place, apart, failure, silent},
    seen::{Seen, observed},
};
use crate::StoreOptions;

/// Longest for a connection.
const CONNECT: Duration = Duration::from_secs(5);
const CONTENT_TYPES: [(&str, &str); 7] = [
    ("gz", "application/gzip"),
    ("tgz", "application/gzip"),
    ("tar", "application/x-tar"),
    ("json", "application/json"),
    ("yaml", "application/yaml"),
    ("log", "text/plain; charset=utf-8"),
    ("txt", "text/plain; charset=utf-8"),
];

/// The value of an environment variable.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A bucket, and the prefix of all keys in it.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) client: Arc<AmazonS3>,
    pub(crate) prefix: Key,
    pub(crate) place: Place,
}

impl Bucket {
    /// Sends nothing yet.
    pub(crate) fn open(options: &StoreOptions, environment: Environment<'_>) -> Result<Self, Failure> {
        let (bucket, prefix) = parse_url(&options.url)?;
        let set = |value: &Option<String>, names: [&str; 2]| {
            value.clone().or_else(|| names.iter().find_map(|name| environment(name).filter(|value| !value.is_empty())))
        };
        let endpoint = set(&options.endpoint, ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]);
        let region =
            set(&options.region, ["AWS_REGION", "AWS_DEFAULT_REGION"]).unwrap_or_else(|| "us-east-1".to_owned());
        if !plain_name(&region) {
            return Err(invalid(format!("`{}` is no region", shown(&region))).on("store.region"));
        }
        // A dot in the host's name fits no certificate.
        let path_style = options.path_style.unwrap_or(endpoint.is_some() || bucket.contains('.'));
        let endpoint = match endpoint {
            Some(endpoint) => Some(Endpoint::parse(&endpoint, options.allow_http)?),
            None => None,
        };
        let client = client_options(options)?;
        let timeout = options.timeout.get();
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&bucket)
            .with_region(&region)
            .with_virtual_hosted_style_request(!path_style)
            // One request per object is understood everywhere.
            .with_disable_bulk_delete(true)
            .with_client_options(client)
            .with_retry(retries(timeout))
            .with_http_connector(seen::Watching);
        let address = match &endpoint {
            Some(endpoint) => {
                builder = builder.with_endpoint(if path_style { endpoint.root() } else { endpoint.of(&bucket) });
                endpoint.root()
            }
            None => format!("https://s3.{region}.amazonaws.com"),
        };
        let (builder, identity) = credentials::add(builder, options, environment)?;
        let place = Place { url: canonical(&bucket, &prefix), bucket, endpoint: address, region, identity };
        let client =
            builder.build().map_err(|error| invalid(format!("object store {}: {error}", place.url)).on("store"))?;
        Ok(Self { client: Arc::new(client), prefix, place })
    }
}

fn canonical(bucket: &str, prefix: &Key) -> String {
    if prefix.as_ref().is_empty() { format!("s3://{bucket}") } else { format!("s3://{bucket}/{prefix}") }
}

/// Bucket and prefix.
fn parse_url(url: &str) -> Result<(String, Key), Failure> {
    let wrong = |why: &str| {
        invalid(format!("object store `{}` is not of the form s3://bucket/prefix: {why}", shown(url))).on("store.url")
    };
    let rest = url.strip_prefix("s3://").ok_or_else(|| wrong("it does not begin with s3://"))?;
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    if !(3..=63).contains(&bucket.len())
        || !bucket.chars().all(plain)
        || bucket.starts_with(['-', '.'])
        || bucket.contains("..")
    {
        return Err(wrong("a bucket's name has 3 to 63 of a-z, 0-9, `-` and `.`"));
    }
    if prefix.contains(['?', '#']) {
        return Err(wrong("a prefix has no query"));
    }
    let prefix = Key::parse(prefix).map_err(|error| wrong(&shown(&error.to_string())))?;
    Ok((bucket.to_owned(), prefix))
}

/// Where S3 answers.
struct Endpoint {
    scheme: &'static str,
    /// Host, port and path.
    rest: String,
}

impl Endpoint {
    fn parse(text: &str, allow_http: bool) -> Result<Self, Failure> {
        let wrong =
            |why: &str| invalid(format!("endpoint `{}` of the object store: {why}", shown(text))).on("store.endpoint");
        let uri: http::Uri = text.parse().map_err(|_| wrong("it is no URL"))?;
        let scheme = match uri.scheme_str() {
            Some("https") => "https",
            Some("http") if allow_http => "http",
            Some("http") => {
                return Err(wrong("it is http").action(
                    "use https, or set `store.allow_http: true` where the way to it is safe, e.g. encrypted by the mesh",
                ));
            }
            _ => return Err(wrong("it begins with neither https:// nor http://")),
        };
        let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        if authority.is_empty() || authority.contains('@') || uri.query().is_some() {
            return Err(wrong("it is not of the form https://host:port"));
        }
        Ok(Self { scheme, rest: format!("{authority}{}", uri.path().trim_end_matches('/')) })
    }

    fn root(&self) -> String {
        format!("{}://{}", self.scheme, self.rest)
    }

    fn of(&self, bucket: &str) -> String {
        format!("{}://{bucket}.{}", self.scheme, self.rest)
    }
}

fn client_options(options: &StoreOptions) -> Result<ClientOptions, Failure> {
    let mut client = ClientOptions::new()
        .with_allow_http(options.allow_http)
        .with_user_agent(HeaderValue::from_static(concat!("kfops/", env!("CARGO_PKG_VERSION"))))
        .with_connect_timeout(CONNECT.min(options.timeout.get()))
        // Of silence: a large object may take as long as it needs.
        .with_timeout_disabled()
        .with_read_timeout(options.timeout.get())
        .with_default_content_type("application/octet-stream");
    for (suffix, kind) in CONTENT_TYPES {
        client = client.with_content_type_for_suffix(suffix, kind);
    }
    if let Some(path) = &options.ca_file {
        let unusable = |why: &dyn std::fmt::Display| {
            invalid(format!("certificate authorities of the object store, {}: {why}", path.display()))
                .on("store.ca_file")
        };
        let pem = std::fs::read(path).map_err(|error| unusable(&error))?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| unusable(&error))?;
        if certificates.is_empty() {
            return Err(unusable(&"no certificate in it"));
        }
        for certificate in certificates {
            client = client.with_root_certificate(certificate);
        }
    }
    Ok(client)
}

fn retries(timeout: Duration) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        },
        max_retries: 8,
        // Tries are signed once, and signatures age.
        retry_timeout: timeout.min(Duration::from_secs(180)),
    }
}

fn plain_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

/// A setting as it may stand in a message.
fn shown(text: &str) -> String {
    // What stands before an @ may be a password.
    let text = match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => text.to_owned(),
    };
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

fn invalid(message: String) -> Failure {
    Failure::new(Reason::InvalidArgument, message)
}

#[cfg(test)]
mod tests;
