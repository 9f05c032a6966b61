//! The GitHub App that the bot of the local system is: its key, made once, and its place at the forge.

use std::{fs, path::Path};

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der},
    rsa::{KeyPair, KeySize},
    signature::KeyPair as _,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use kfops_core::{Failure, Reason};
use kfops_forge::{AppRegistration, Forge};
use secrecy::SecretString;

use crate::{
    secrets,
    system::{BOT, USER},
};

/// Its id at the forge.
pub(crate) const ID: u64 = 1;
const SLUG: &str = "kfops";
/// What its webhook tells of.
const EVENTS: &[&str] = &["issue_comment", "pull_request", "check_run"];
/// What it may do where it is installed.
const PERMISSIONS: &[(&str, &str)] = &[
    ("checks", "write"),
    ("contents", "write"),
    ("deployments", "write"),
    ("issues", "write"),
    ("members", "read"),
    ("metadata", "read"),
    ("pull_requests", "write"),
    ("statuses", "write"),
];

/// The key of the App. Not printed: there is no Debug.
pub(crate) struct App {
    /// PKCS #8, PEM.
    pub(crate) private_key: SecretString,
    /// X.509, PEM.
    public_key: String,
}

impl App {
    /// Reads the key, or makes it.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let unusable = |error: &dyn std::fmt::Display| {
            Failure::new(Reason::StoreUnavailable, format!("{}: {error}", path.display()))
        };
        let made = !path.exists();
        let (pair, private_key) = if made {
            let pair = KeyPair::generate(KeySize::Rsa2048).map_err(Failure::internal)?;
            let der: Pkcs8V1Der<'_> = pair.as_der().map_err(Failure::internal)?;
            let text = pem("PRIVATE KEY", der.as_ref());
            secrets::keep(path, text.as_bytes()).map_err(|error| unusable(&error))?;
            (pair, text)
        } else {
            let text = fs::read_to_string(path).map_err(|error| unusable(&error))?;
            let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
            let der = BASE64_STANDARD.decode(body.trim()).map_err(|error| unusable(&error))?;
            let pair = KeyPair::from_pkcs8(&der)
                .map_err(|error| unusable(&error).action("remove the file: the next start makes another key"))?;
            (pair, text)
        };
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(Failure::internal)?;
        Ok(Self { private_key: private_key.into(), public_key: pem("PUBLIC KEY", public.as_ref()) })
    }

    /// Makes the App known to the forge, with its webhook. Idempotent.
    pub(crate) async fn register(&self, forge: &Forge, webhook: &str, secret: &SecretString) -> Result<(), Failure> {
        let app = AppRegistration {
            id: ID,
            slug: SLUG,
            owner: USER,
            public_key: &self.public_key,
            webhook_secret: Some(secret),
            permissions: PERMISSIONS,
            events: EVENTS,
        };
        forge.register_app(app).await?;
        forge.set_app_hook(BOT, webhook, secret, EVENTS).await.map(drop)
    }
}

fn pem(kind: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<String> =
        text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn the_key_is_made_once_and_for_the_user_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("github-app.pem");
        let first = App::open(&path).unwrap();
        let second = App::open(&path).unwrap();
        assert_eq!(first.private_key.expose_secret(), second.private_key.expose_secret());
        assert_eq!(first.public_key, second.public_key);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
        assert!(App::open(&path).err().unwrap().action.contains("remove the file"));
    }
}
