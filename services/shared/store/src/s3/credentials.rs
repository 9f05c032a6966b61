//! Where the keys to the bucket come from.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use kfops_core::Failure;
use object_store::{
    CredentialProvider,
    aws::{AmazonS3Builder, AmazonS3ConfigKey as Config, AwsCredential},
};
use secrecy::{ExposeSecret as _, SecretString};

use super::{Environment, invalid, shown};
use crate::{CredentialFiles, StoreOptions, WebIdentity};

/// Longest content of a file with a key.
const LONGEST: u64 = 64 << 10;

/// Adds the credentials; says in words where they come from.
pub(super) fn add(
    builder: AmazonS3Builder,
    options: &StoreOptions,
    environment: Environment<'_>,
) -> Result<(AmazonS3Builder, String), Failure> {
    let variable = |name: &str| environment(name).filter(|value| !value.is_empty());
    match (&options.credentials, &options.web_identity) {
        (Some(_), Some(_)) => {
            return Err(invalid("credentials of the object store: both files and a web identity are set".to_owned())
                .on("store.credentials")
                .action("keep one of `store.credentials` and `store.web_identity`"));
        }
        (Some(files), None) => {
            let files = Files(files.clone());
            files
                .read()
                .map_err(|why| invalid(format!("credentials of the object store: {why}")).on("store.credentials"))?;
            let identity = format!("the keys in {}", files.0.access_key_id_file.display());
            return Ok((builder.with_credentials(Arc::new(files)), identity));
        }
        (None, Some(role)) => return assume(builder, role),
        (None, None) => {}
    }
    if let Some(id) = variable("AWS_ACCESS_KEY_ID") {
        let secret = variable("AWS_SECRET_ACCESS_KEY").map(SecretString::from).ok_or_else(|| {
            invalid(
                "credentials of the object store: AWS_ACCESS_KEY_ID is set, AWS_SECRET_ACCESS_KEY is not".to_owned(),
            )
            .on("AWS_SECRET_ACCESS_KEY")
        })?;
        let mut builder = builder.with_access_key_id(id).with_secret_access_key(secret.expose_secret());
        if let Some(token) = variable("AWS_SESSION_TOKEN") {
            builder = builder.with_token(token);
        }
        return Ok((builder, "the keys of AWS_ACCESS_KEY_ID".to_owned()));
    }
    if let (Some(token_file), Some(role_arn)) = (variable("AWS_WEB_IDENTITY_TOKEN_FILE"), variable("AWS_ROLE_ARN")) {
        let role = WebIdentity {
            token_file: token_file.into(),
            role_arn,
            session_name: variable("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "kfops".to_owned()),
            sts_endpoint: variable("AWS_ENDPOINT_URL_STS"),
        };
        return assume(builder, &role);
    }
    if let (Some(url), Some(file)) =
        (variable("AWS_CONTAINER_CREDENTIALS_FULL_URI"), variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"))
    {
        let builder = builder
            .with_config(Config::ContainerCredentialsFullUri, url)
            .with_config(Config::ContainerAuthorizationTokenFile, file);
        return Ok((builder, "the pod's identity".to_owned()));
    }
    Err(invalid("there are no credentials for the object store".to_owned()).on("store.credentials").action(
        "set `store.credentials` or `store.web_identity`, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the \
         service account a role",
    ))
}

fn assume(builder: AmazonS3Builder, role: &WebIdentity) -> Result<(AmazonS3Builder, String), Failure> {
    let mut builder = builder
        .with_config(Config::WebIdentityTokenFile, role.token_file.display().to_string())
        .with_config(Config::RoleArn, &role.role_arn)
        .with_config(Config::RoleSessionName, &role.session_name);
    if let Some(endpoint) = &role.sts_endpoint {
        // The token is sent there.
        if !endpoint.starts_with("https://") {
            let text = format!("endpoint `{}` of STS is not https", shown(endpoint));
            return Err(invalid(text).on("store.web_identity.sts_endpoint"));
        }
        builder = builder.with_config(Config::StsEndpoint, endpoint);
    }
    Ok((builder, format!("the role {}", shown(&role.role_arn))))
}

/// Keys in files. They are small: read for each request, they are never old.
struct Files(CredentialFiles);

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Files({})", self.0.access_key_id_file.display())
    }
}

impl Files {
    fn read(&self) -> Result<AwsCredential, String> {
        let token = self.0.session_token_file.as_deref().map(read).transpose()?;
        Ok(AwsCredential {
            key_id: read(&self.0.access_key_id_file)?.expose_secret().to_owned(),
            secret_key: read(&self.0.secret_access_key_file)?.expose_secret().to_owned(),
            token: token.map(|token| token.expose_secret().to_owned()),
        })
    }
}

#[async_trait]
impl CredentialProvider for Files {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        self.read()
            .map(Arc::new)
            .map_err(|why| object_store::Error::Generic { store: "S3", source: Box::new(Unreadable(why)) })
    }
}

/// The files of the keys cannot be read.
#[derive(Debug)]
pub(super) struct Unreadable(String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "credentials of the object store: {}", self.0)
    }
}

impl std::error::Error for Unreadable {}

fn read(path: &Path) -> Result<SecretString, String> {
    use std::io::Read as _;
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
    let kept = SecretString::from(text);
    read.map_err(|error| format!("{}: {error}", path.display()))?;
    let value = kept.expose_secret().trim();
    if value.is_empty() || value.chars().any(char::is_control) {
        return Err(format!("{} is empty or has several lines", PathBuf::from(path).display()));
    }
    Ok(SecretString::from(value.to_owned()))
}
