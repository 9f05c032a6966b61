//! A registry over its HTTP API (OCI distribution specification).

use std::{path::PathBuf, time::Duration};

use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use kfops_core::{Digest, Failure, Reason};
use oci_client::{
    Client, Reference, RegistryOperation,
    client::{ClientConfig, ClientProtocol},
    errors::{OciDistributionError as Error, OciErrorCode},
    manifest::{
        IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
    },
    secrets::RegistryAuth,
};
use tokio_util::sync::CancellationToken;

use crate::{
    local::base_image::StandIns,
    ports::{Base, Registry, Repository},
    reference::{DOCKER_HUB, ImageName},
};

/// Manifests that are asked for.
const ACCEPTED: &[&str] =
    &[OCI_IMAGE_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE];

/// Longest for one question, with what a registry wants to be asked before.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Speaks to registries.
pub(crate) struct RegistryClient {
    https: Client,
    http: Client,
    auth_file: Option<PathBuf>,
    embedded: Option<String>,
    /// For machines without a public registry.
    stand_ins: Option<StandIns>,
}

impl RegistryClient {
    pub(crate) fn new(
        auth_file: Option<PathBuf>,
        embedded: Option<String>,
        stand_ins: Option<StandIns>,
    ) -> Result<Self, Failure> {
        let client = |protocol| {
            Client::try_from(ClientConfig {
                protocol,
                connect_timeout: Some(Duration::from_secs(5)),
                read_timeout: Some(Duration::from_secs(30)),
                ..ClientConfig::default()
            })
            .map_err(|error| Failure::internal(format!("registry client: {error}")))
        };
        let (https, http) = (client(ClientProtocol::Https)?, client(ClientProtocol::Http)?);
        Ok(Self { https, http, auth_file, embedded, stand_ins })
    }

    fn client(&self, registry: &str, insecure: bool) -> &Client {
        if insecure || self.embedded.as_deref() == Some(registry) { &self.http } else { &self.https }
    }

    /// From the configured file, or where Docker and buildah keep what `login` wrote.
    fn auth(&self, registry: &str) -> RegistryAuth {
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker/config.json"));
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("containers/auth.json"));
        let files = match &self.auth_file {
            Some(file) => vec![file.clone()],
            None => runtime.into_iter().chain(home).collect(),
        };
        let found = files.iter().find_map(|file| credentials(&std::fs::read(file).ok()?, registry));
        found.map_or(RegistryAuth::Anonymous, |(user, password)| RegistryAuth::Basic(user, password))
    }

    /// What makes the image, when it is not had from its registry.
    async fn stands_in(&self, image: &ImageName) -> Option<&StandIns> {
        let stand_ins = self.stand_ins.as_ref().filter(|_| image.registry == DOCKER_HUB)?;
        stand_ins.needed().await.then_some(stand_ins)
    }

    async fn digest(&self, reference: &Reference, insecure: bool) -> Result<Option<Digest>, Failure> {
        let registry = reference.registry();
        let client = self.client(registry, insecure);
        let auth = self.auth(registry);
        let request = async {
            match client.fetch_manifest_digest(reference, &auth).await {
                Ok(digest) => Digest::parse(&digest).map(Some).map_err(Failure::internal),
                Err(error) if is_absent(&error) => Ok(None),
                Err(error) => Err(failure(reference, &error)),
            }
        };
        limited(reference, request).await
    }

    async fn retag(&self, from: &Reference, to: &Reference, insecure: bool) -> Result<(), Failure> {
        let client = self.client(from.registry(), insecure);
        let auth = self.auth(from.registry());
        let (bytes, _) =
            client.pull_manifest_raw(from, &auth, ACCEPTED).await.map_err(|error| failure(from, &error))?;
        let media_type = serde_json::from_slice::<serde_json::Value>(&bytes)
            .ok()
            .and_then(|manifest| manifest.get("mediaType")?.as_str().map(ToOwned::to_owned))
            .unwrap_or_else(|| OCI_IMAGE_MEDIA_TYPE.to_owned());
        let media_type = media_type.parse().map_err(Failure::internal)?;
        client.auth(to, &auth, RegistryOperation::Push).await.map_err(|error| failure(to, &error))?;
        client.push_manifest_raw(to, bytes, media_type).await.map_err(|error| failure(to, &error))?;
        Ok(())
    }
}

/// The user and password of `registry` in a file of Docker's format.
fn credentials(json: &[u8], registry: &str) -> Option<(String, String)> {
    let value: serde_json::Value = serde_json::from_slice(json).ok()?;
    let auths = value.get("auths")?.as_object()?;
    let key = if registry == DOCKER_HUB { "https://index.docker.io/v1/" } else { registry };
    let entry = auths.get(key).or_else(|| auths.get(registry))?;
    let field = |name: &str| entry.get(name).and_then(serde_json::Value::as_str).filter(|text| !text.is_empty());
    let Some(auth) = field("auth") else {
        return field("username").map(ToOwned::to_owned).zip(field("password").map(ToOwned::to_owned));
    };
    let text = String::from_utf8(BASE64_STANDARD.decode(auth).ok()?).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

fn reference(repository: &Repository, reference: &str) -> Result<Reference, Failure> {
    let separator = if reference.contains(':') { '@' } else { ':' };
    let text = format!("{}{separator}{reference}", repository.location);
    let image = ImageName::parse(&text).map_err(|message| Failure::new(Reason::InvalidArgument, message))?;
    Ok(of(&image))
}

fn of(image: &ImageName) -> Reference {
    let (registry, path) = (image.registry.clone(), image.path.clone());
    match (&image.digest, &image.tag) {
        (Some(digest), _) => Reference::with_digest(registry, path, digest.to_string()),
        (None, tag) => Reference::with_tag(registry, path, tag.clone().unwrap_or_else(|| "latest".into())),
    }
}

#[async_trait]
impl Registry for RegistryClient {
    async fn head(&self, repository: &Repository, tag: &str) -> Result<Option<Digest>, Failure> {
        self.digest(&reference(repository, tag)?, repository.insecure).await
    }

    async fn tag(&self, repository: &Repository, digest: &Digest, tag: &str) -> Result<(), Failure> {
        let (from, to) = (reference(repository, digest.as_str())?, reference(repository, tag)?);
        if self.digest(&to, repository.insecure).await?.as_ref() == Some(digest) {
            return Ok(());
        }
        limited(&to, self.retag(&from, &to, repository.insecure)).await
    }

    async fn base(&self, image: &ImageName, insecure: bool, cancel: &CancellationToken) -> Result<Base, Failure> {
        if let Some(stand_ins) = self.stands_in(image).await {
            let digest = stand_ins.ensure(image, cancel).await?;
            return Ok(Base { digest, stand_in: true });
        }
        if let Some(digest) = &image.digest {
            return Ok(Base { digest: digest.clone(), stand_in: false });
        }
        let reference = of(image);
        tokio::select! {
            found = self.digest(&reference, insecure) => found_base(image, found?),
            () = cancel.cancelled() => Err(Failure::new(Reason::Canceled, "canceled")),
        }
    }

    async fn base_now(&self, image: &ImageName, insecure: bool) -> Result<Option<Base>, Failure> {
        if let Some(stand_ins) = self.stands_in(image).await {
            let made = stand_ins.made_already(image)?;
            return Ok(made.map(|digest| Base { digest, stand_in: true }));
        }
        if let Some(digest) = &image.digest {
            return Ok(Some(Base { digest: digest.clone(), stand_in: false }));
        }
        found_base(image, self.digest(&of(image), insecure).await?).map(Some)
    }
}

fn found_base(image: &ImageName, found: Option<Digest>) -> Result<Base, Failure> {
    match found {
        Some(digest) => Ok(Base { digest, stand_in: false }),
        None => Err(Failure::new(Reason::ImageBuildFailed, format!("base image {image} does not exist"))
            .action("correct the FROM line of the Dockerfile")),
    }
}

/// A registry that trickles would keep within the time for each read and never end.
async fn limited<T>(reference: &Reference, requests: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(TIME_LIMIT, requests).await.unwrap_or_else(|_| {
        let registry = reference.registry();
        let text = format!("registry {registry}, asked for {reference}: no answer within {} s", TIME_LIMIT.as_secs());
        Err(Failure::new(Reason::RegistryUnavailable, text)
            .action("it can be tried again; look whether the registry runs and is reachable"))
    })
}

fn is_absent(error: &Error) -> bool {
    match error {
        Error::ImageManifestNotFoundError(_) => true,
        Error::ServerError { code, .. } => *code == 404,
        Error::RegistryError { envelope, .. } => envelope.errors.iter().any(|error| {
            matches!(error.code, OciErrorCode::ManifestUnknown | OciErrorCode::NameUnknown | OciErrorCode::NotFound)
        }),
        _ => false,
    }
}

fn failure(reference: &Reference, error: &Error) -> Failure {
    let registry = reference.registry();
    match error {
        Error::UnauthorizedError { .. } | Error::AuthenticationFailure(_) => {
            Failure::new(Reason::PermissionDenied, format!("registry {registry} refuses access to {reference}"))
                .action("give credentials with registry.auth_file, in the format of Docker's config.json")
        }
        error => {
            let cause = root_cause(error);
            Failure::new(Reason::RegistryUnavailable, format!("registry {registry}, asked for {reference}: {cause}"))
                .action("it can be tried again; look whether the registry runs and is reachable")
        }
    }
}

/// The innermost cause says what went wrong; the outer ones repeat the address.
fn root_cause(error: &Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string().chars().take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_those_of_the_registry() {
        let json = format!(r#"{{"auths":{{"r.example.com":{{"auth":"{}"}}}}}}"#, BASE64_STANDARD.encode("u:p:q"));
        assert_eq!(credentials(json.as_bytes(), "r.example.com"), Some(("u".into(), "p:q".into())));
        assert_eq!(credentials(json.as_bytes(), "other.example.com"), None);
        assert_eq!(credentials(b"no json", "r.example.com"), None);
        let plain = br#"{"auths":{"r.example.com":{"username":"u","password":"p"}}}"#;
        assert_eq!(credentials(plain, "r.example.com"), Some(("u".into(), "p".into())));
    }
}
