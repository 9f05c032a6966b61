//! Where the object store is and how to get in, as it stands in a service's settings.

use std::{borrow::Cow, fmt, path::PathBuf};

use kfops_settings::HumanDuration;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The `store` section: a URL (`file:///folder`, `s3://bucket/prefix`), or a mapping with the URL and more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSettings(pub StoreOptions);

/// The `store` section in full. It holds no secrets, only where they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreOptions {
    /// `file:///folder` or `s3://bucket/prefix`; the bucket exists, the prefix may be missing.
    pub url: String,
    /// Where S3 answers, e.g. http://minio.kubeflow:9000. Without it AWS_ENDPOINT_URL_S3, then AWS_ENDPOINT_URL of the
    /// environment, then AWS in the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Region of the bucket. Without it AWS_REGION, then AWS_DEFAULT_REGION of the environment, then us-east-1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Whether the bucket stands in the path (`endpoint/bucket`) or in the name of the host (`bucket.endpoint`).
    /// Without it: in the path where there is an endpoint, in the host on AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_style: Option<bool>,
    /// Whether the endpoint may be http: what is sent can then be read on the way, unless a mesh encrypts it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_http: bool,
    /// PEM file with certificate authorities that are believed besides the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Longest wait for a sign of life from S3; what fails is tried again for as long.
    #[serde(default = "default_timeout", skip_serializing_if = "is_default_timeout")]
    pub timeout: HumanDuration,
    /// Files with access keys. Without this and `web_identity`, credentials come from the environment:
    /// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN), or AWS_WEB_IDENTITY_TOKEN_FILE and
    /// AWS_ROLE_ARN, or AWS_CONTAINER_CREDENTIALS_FULL_URI and AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE (EKS Pod Identity).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<CredentialFiles>,
    /// A role that a service account's token stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web_identity: Option<WebIdentity>,
}

/// Files with access keys, e.g. of a mounted secret. They are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialFiles {
    /// File with the access key's id.
    pub access_key_id_file: PathBuf,
    /// File with the secret key.
    pub secret_access_key_file: PathBuf,
    /// File with the token of temporary keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token_file: Option<PathBuf>,
}

/// AssumeRoleWithWebIdentity, as IAM roles for service accounts do it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebIdentity {
    /// File with the projected token.
    pub token_file: PathBuf,
    /// The role.
    pub role_arn: String,
    /// Name of the session in audit logs.
    #[serde(default = "default_session", skip_serializing_if = "is_default_session")]
    pub session_name: String,
    /// Where STS answers, https; without it that of the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sts_endpoint: Option<String>,
}

impl StoreOptions {
    /// A store at this URL, all else as usual.
    #[must_use]
    pub fn at(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            endpoint: None,
            region: None,
            path_style: None,
            allow_http: false,
            ca_file: None,
            timeout: default_timeout(),
            credentials: None,
            web_identity: None,
        }
    }
}

impl Default for StoreSettings {
    fn default() -> Self {
        "file:///var/lib/kfops/store".into()
    }
}

impl From<StoreOptions> for StoreSettings {
    fn from(options: StoreOptions) -> Self {
        Self(options)
    }
}

impl From<&str> for StoreSettings {
    fn from(url: &str) -> Self {
        Self(StoreOptions::at(url))
    }
}

impl From<String> for StoreSettings {
    fn from(url: String) -> Self {
        Self(StoreOptions::at(url))
    }
}

impl From<&String> for StoreSettings {
    fn from(url: &String) -> Self {
        Self(StoreOptions::at(url))
    }
}

impl From<&Self> for StoreSettings {
    fn from(settings: &Self) -> Self {
        settings.clone()
    }
}

/// The URL.
impl fmt::Display for StoreSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.url)
    }
}

impl Serialize for StoreSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // As it is usually written; and a mapping would be merged with that of a settings file, key by key.
        if self.0 == StoreOptions::at(&self.0.url) {
            serializer.serialize_str(&self.0.url)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for StoreSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UrlOrMapping;

        impl<'de> de::Visitor<'de> for UrlOrMapping {
            type Value = StoreSettings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the URL of an object store, or a mapping with `url`")
            }

            fn visit_str<E: de::Error>(self, url: &str) -> Result<Self::Value, E> {
                Ok(url.into())
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                StoreOptions::deserialize(de::value::MapAccessDeserializer::new(map)).map(StoreSettings)
            }
        }

        deserializer.deserialize_any(UrlOrMapping)
    }
}

impl JsonSchema for StoreSettings {
    fn schema_name() -> Cow<'static, str> {
        "StoreSettings".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mapping = generator.subschema_for::<StoreOptions>();
        json_schema!({
            "description": "An object store: its URL, or a mapping with the URL and more.",
            "anyOf": [
                {"type": "string", "pattern": "^(file:///|s3://)", "examples": ["file:///var/lib/kfops/store", "s3://kfops/store"]},
                mapping,
            ],
        })
    }
}

fn default_timeout() -> HumanDuration {
    HumanDuration::from_secs(30)
}

fn is_default_timeout(timeout: &HumanDuration) -> bool {
    *timeout == default_timeout()
}

fn default_session() -> String {
    "kfops".to_owned()
}

fn is_default_session(name: &str) -> bool {
    name == default_session()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use kfops_settings::{SettingsFlags, load};

    use super::*;

    #[derive(Debug, Default, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Service {
        store: StoreSettings,
    }

    fn settings(yaml: &str, set: &[&str]) -> Result<StoreSettings, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), yaml).unwrap();
        let set = set.iter().map(ToString::to_string).collect();
        let flags = SettingsFlags { settings: Some(file.path().to_owned()), set, print_settings_schema: false };
        load::<Service>("store-settings-test", &flags).map(|service| service.store).map_err(|error| error.to_string())
    }

    #[test]
    fn a_plain_url_is_enough_and_stays_one() {
        let plain = settings("store: file:///a/b\n", &[]).unwrap();
        assert_eq!(plain, "file:///a/b".into());
        assert_eq!(serde_json::to_value(&plain).unwrap(), "file:///a/b");
        assert_eq!(settings("store: file:///a\n", &["store=s3://b/c"]).unwrap(), "s3://b/c".into());
        assert_eq!(settings("", &[]).unwrap(), StoreSettings::default());
    }

    #[test]
    fn a_mapping_says_the_rest() {
        let yaml = "store:\n  url: s3://kfops/prod\n  endpoint: http://minio:9000\n  allow_http: true\n  timeout: 5s\n  \
                    credentials:\n    access_key_id_file: /s/id\n    secret_access_key_file: /s/key\n";
        let StoreSettings(options) = settings(yaml, &["store.region=eu-west-1"]).unwrap();
        assert_eq!((options.url.as_str(), options.region.as_deref()), ("s3://kfops/prod", Some("eu-west-1")));
        assert!(options.allow_http && options.path_style.is_none() && options.web_identity.is_none());
        assert_eq!(options.timeout, HumanDuration::from_secs(5));
        let again: StoreSettings =
            serde_json::from_value(serde_json::to_value(StoreSettings(options.clone())).unwrap()).unwrap();
        assert_eq!(again.0, options);
    }

    #[test]
    fn a_wrong_key_is_named() {
        let error = settings("store: {url: s3://b, secret_key: x}\n", &[]).unwrap_err();
        assert!(error.contains("secret_key") && error.contains("store"), "{error}");
        let error = settings("store: {endpoint: http://x}\n", &[]).unwrap_err();
        assert!(error.contains("url"), "{error}");
        let error = settings("store: 3\n", &[]).unwrap_err();
        assert!(error.contains("the URL of an object store, or a mapping with `url`"), "{error}");
    }
}
