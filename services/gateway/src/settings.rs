//! Settings of the gateway.

use std::{borrow::Cow, collections::BTreeMap, fmt, net::IpAddr, path::PathBuf};

use kfops_core::{Failure, Reason};
use kfops_kube::KubernetesSettings;
use kfops_settings::HumanDuration;
use kfops_telemetry::TelemetrySettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Settings of the gateway.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Address to listen on; port 0 picks a free one.
    pub listen: String,
    /// Address of scm-bot.
    pub scm_bot: String,
    /// Webhooks.
    pub webhook: WebhookSettings,
    /// REST and gRPC.
    pub api: ApiSettings,
    /// Connections open at the same time; more wait to be accepted.
    pub max_connections: usize,
    /// How long a client may take to send the head of a request.
    pub header_timeout: HumanDuration,
    /// How long requests under way may take to finish when the gateway is asked to stop.
    pub patience: HumanDuration,
    /// Spans and logs.
    pub telemetry: TelemetrySettings,
}

/// `POST /webhooks/github`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookSettings {
    /// The webhook's secrets; a delivery signed with any of them is taken, so that a secret can be changed.
    /// At least one is needed, here or in `secret_files`.
    pub secrets: Vec<Secret>,
    /// Files with one secret each, e.g. of a mounted Secret; read at the start. Space around the secret does not count.
    pub secret_files: Vec<PathBuf>,
    /// Largest body, in bytes. GitHub sends at most 25 MB.
    pub max_body: usize,
    /// Bytes of all bodies that are held in memory at the same time.
    pub max_memory: usize,
    /// Deliveries under way at the same time.
    pub max_concurrent: usize,
    /// How long the whole body may take to arrive.
    pub body_timeout: HumanDuration,
    /// How long scm-bot may take to store a delivery. GitHub waits 10 s.
    pub accept_timeout: HumanDuration,
}

/// REST and gRPC.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ApiSettings {
    /// Who may call, by bearer token.
    pub tokens: Vec<ApiToken>,
    /// Who every caller on this machine is while there are no tokens; unset: nobody may call without one. A proxy on this
    /// machine makes everybody such a caller.
    pub loopback_user: Option<String>,
    /// Callers are users of a Kubernetes cluster, and its RBAC says what they may; unset: only `tokens` count.
    pub cluster: Option<ClusterSettings>,
    /// Names under which the gateway is reached, besides localhost and IP addresses.
    pub hosts: Vec<String>,
    /// Largest body, in bytes.
    pub max_body: usize,
    /// How long a call may take, and the body to arrive.
    pub call_timeout: HumanDuration,
    /// How long a stream may stay open; clients open it again.
    pub stream_timeout: HumanDuration,
}

/// Users of a Kubernetes cluster. Rights are asked for by SubjectAccessReview: verbs `create`, `get`, `list`, `watch` and
/// `cancel` on `commands`, `get` on `commands/log`, `list` on `locks`, all of the group `api.kfops.dev`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterSettings {
    /// The cluster, and the namespace in which rights are asked for.
    pub kubernetes: KubernetesSettings,
    /// The mesh's ingress gateway, e.g. `cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account`. What it says
    /// of a user is believed, and nobody else. Unset: nobody is believed. Set it only where every request comes through a
    /// sidecar: without one, anybody can say to be the ingress gateway.
    pub ingress_principal: Option<String>,
    /// The header in which the ingress gateway names the user.
    pub user_header: String,
    /// Stands before the user's name in that header.
    pub user_prefix: String,
    /// The header in which the ingress gateway names the user's groups, separated by commas.
    pub groups_header: String,
    /// Audiences of tokens (TokenReview); one of them is needed.
    pub audiences: Vec<String>,
    /// Which login at GitHub a user has: to create and cancel commands one needs one, and with it a permission on the
    /// repository.
    pub logins: BTreeMap<String, String>,
}

/// A bearer token and whose it is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApiToken {
    /// The token.
    pub token: Secret,
    /// The user, as scm-bot sees it.
    pub user: String,
}

/// Text that does not print.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Wraps it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.expose_secret().as_bytes()
    }
}

impl kfops_boot::ServiceSettings for Settings {
    fn listen(&self) -> &str {
        &self.listen
    }

    fn telemetry(&self) -> &TelemetrySettings {
        &self.telemetry
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".into(),
            scm_bot: "http://127.0.0.1:9001".into(),
            webhook: WebhookSettings::default(),
            api: ApiSettings::default(),
            max_connections: 1024,
            header_timeout: HumanDuration::from_secs(10),
            patience: HumanDuration::from_secs(20),
            telemetry: TelemetrySettings::default(),
        }
    }
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self {
            secrets: Vec::new(),
            secret_files: Vec::new(),
            max_body: 25 << 20,
            max_memory: 256 << 20,
            max_concurrent: 256,
            body_timeout: HumanDuration::from_secs(10),
            accept_timeout: HumanDuration::from_secs(8),
        }
    }
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            tokens: Vec::new(),
            loopback_user: None,
            cluster: None,
            hosts: Vec::new(),
            max_body: 1 << 20,
            call_timeout: HumanDuration::from_secs(10),
            stream_timeout: HumanDuration::from_secs(600),
        }
    }
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            kubernetes: KubernetesSettings::default(),
            ingress_principal: None,
            user_header: "kubeflow-userid".into(),
            user_prefix: String::new(),
            groups_header: "kubeflow-groups".into(),
            audiences: vec!["kfops.dev".into()],
            logins: BTreeMap::new(),
        }
    }
}

impl ClusterSettings {
    fn validate(&self) -> Result<(), Failure> {
        let wrong = |key: &str, message: String| Err(Failure::new(Reason::InvalidArgument, message).on(key));
        for (key, name) in [("user_header", &self.user_header), ("groups_header", &self.groups_header)] {
            if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                return wrong("api.cluster", format!("api.cluster.{key}: `{name}` is not the name of a header"));
            }
        }
        if self.audiences.is_empty() || self.audiences.iter().any(String::is_empty) {
            return wrong("api.cluster.audiences", "api.cluster.audiences is empty: set at least one".into());
        }
        if let Some(principal) = &self.ingress_principal
            && (principal.starts_with("spiffe://") || principal.split('/').count() != 5)
        {
            let message = format!(
                "api.cluster.ingress_principal: `{principal}` is not a principal: use TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT"
            );
            return wrong("api.cluster.ingress_principal", message);
        }
        for (user, login) in &self.logins {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_[]".contains(c);
            if login.is_empty() || login.len() > 100 || !login.chars().all(plain) {
                return wrong(
                    "api.cluster.logins",
                    format!("api.cluster.logins: `{login}` of `{user}` is not a login"),
                );
            }
        }
        Ok(())
    }
}

impl WebhookSettings {
    /// The secrets of the files join the others.
    pub(crate) fn read_secrets(&mut self) -> Result<(), Failure> {
        for file in &self.secret_files {
            let wrong = |what: String| {
                let said = format!("webhook.secret_files: {}: {what}", file.display());
                Failure::new(Reason::InvalidArgument, said).on("webhook.secret_files")
            };
            let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
            if text.trim().is_empty() {
                return Err(wrong("the file is empty".into()));
            }
            self.secrets.push(Secret::new(text.trim()));
        }
        Ok(())
    }
}

impl Settings {
    /// Everything that the types cannot say.
    pub fn validate(&self) -> Result<(), Failure> {
        let wrong = |key: &str, message: String| Err(Failure::new(Reason::InvalidArgument, message).on(key));
        if self.webhook.secrets.is_empty() && self.webhook.secret_files.is_empty() {
            return wrong(
                "webhook.secrets",
                "webhook.secrets is empty: set at least one, the same as in the webhook on GitHub".into(),
            );
        }
        if self.webhook.secrets.iter().any(|secret| secret.bytes().is_empty()) {
            return wrong("webhook.secrets", "webhook.secrets has an empty secret".into());
        }
        let limits = [
            ("max_connections", self.max_connections),
            ("webhook.max_body", self.webhook.max_body),
            ("webhook.max_concurrent", self.webhook.max_concurrent),
            ("api.max_body", self.api.max_body),
        ];
        for (key, value) in limits {
            if value == 0 || value > u32::MAX as usize {
                return wrong(key, format!("{key} is {value}: use a number from 1 to {}", u32::MAX));
            }
        }
        if !(self.webhook.max_body..=u32::MAX as usize).contains(&self.webhook.max_memory) {
            return wrong("webhook.max_memory", "webhook.max_memory is smaller than webhook.max_body".into());
        }
        for token in &self.api.tokens {
            if token.token.bytes().is_empty() {
                return wrong("api.tokens", format!("api.tokens: the token of `{}` is empty", token.user));
            }
        }
        for user in self.api.tokens.iter().map(|token| &token.user).chain(&self.api.loopback_user) {
            if user.is_empty() || user.len() > 256 || !user.bytes().all(|b| b.is_ascii_graphic()) {
                return wrong("api", format!("api: `{user}` is not a user: use 1 to 256 printable ASCII characters"));
            }
        }
        if let Some(cluster) = &self.api.cluster {
            cluster.validate()?;
            if self.api.loopback_user.is_some() {
                let message =
                    "api.loopback_user and api.cluster cannot both be set: behind a sidecar every caller is local";
                return wrong("api.loopback_user", message.into());
            }
        }
        for host in &self.api.hosts {
            if host.parse::<IpAddr>().is_err() && host.contains([':', '/', ' ']) {
                return wrong(
                    "api.hosts",
                    format!("api.hosts: `{host}` is not a host name: leave scheme and port out"),
                );
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[secret]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "writeOnly": true, "description": "A secret; it is not printed."})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid() -> Settings {
        let mut settings = Settings::default();
        settings.webhook.secrets.push(Secret::new("s3cret"));
        settings
    }

    #[test]
    fn a_secret_is_needed_and_does_not_print() {
        assert!(Settings::default().validate().unwrap_err().message.contains("webhook.secrets"));
        let settings = valid();
        settings.validate().unwrap();
        assert!(!format!("{settings:?}").contains("s3cret"));
        assert!(!serde_json::to_string(&settings).unwrap().contains("s3cret"));
    }

    #[test]
    fn secrets_may_lie_in_files() {
        let file = std::env::temp_dir().join(format!("kfops-webhook-secret-{}", std::process::id()));
        let mut webhook = WebhookSettings { secret_files: vec![file.clone()], ..WebhookSettings::default() };
        assert!(webhook.read_secrets().unwrap_err().message.contains("kfops-webhook-secret"));
        std::fs::write(&file, "\n").unwrap();
        assert!(webhook.read_secrets().unwrap_err().message.contains("empty"));
        std::fs::write(&file, "It's a Secret to Everybody\n").unwrap();
        webhook.read_secrets().unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(webhook.secrets[0].bytes(), b"It's a Secret to Everybody");
    }

    #[test]
    fn users_and_hosts_have_a_shape() {
        let mut settings = valid();
        settings.api.loopback_user = Some("a\nb".into());
        assert!(settings.validate().is_err());
        settings.api.loopback_user = Some("a".into());
        settings.api.hosts = vec!["https://example.com".into()];
        assert!(settings.validate().is_err());
    }
}
