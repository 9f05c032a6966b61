//! What an App shows: a signed statement of its own that lasts minutes, and for each installation a token that lasts an
//! hour.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::HeaderValue;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use kfops_core::{Failure, Reason};
use secrecy::ExposeSecret as _;
use serde::Serialize;

use crate::settings::AppSettings;

/// Issued a little in the past, as GitHub advises.
const EARLIER: u64 = 60;
/// GitHub takes ten minutes; clocks differ.
const LIFE: u64 = 540;
/// Tokens are renewed so long before their end.
const EARLY: Duration = Duration::from_secs(300);
/// Most accounts whose installation is remembered.
const MOST: usize = 4096;

/// A token of an installation.
#[derive(Clone)]
pub(super) struct Minted {
    pub(super) header: HeaderValue,
    pub(super) expires: SystemTime,
    /// Tells it from its successors.
    pub(super) generation: u64,
}

impl Minted {
    pub(super) fn fresh(&self, now: SystemTime) -> bool {
        self.expires > now + EARLY
    }

    /// Better than none.
    pub(super) fn valid(&self, now: SystemTime) -> bool {
        self.expires > now + Duration::from_secs(10)
    }
}

/// The token of an installation, minted by one at a time.
pub(super) type Slot = Arc<tokio::sync::Mutex<Option<Minted>>>;

/// A GitHub App.
pub(super) struct App {
    issuer: String,
    key: EncodingKey,
    installation: Option<u64>,
    /// By account, in lower case: an account has at most one.
    installations: Mutex<HashMap<String, u64>>,
    slots: Mutex<HashMap<u64, Slot>>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iat: u64,
    exp: u64,
    iss: &'a str,
}

impl App {
    pub(super) fn new(settings: &AppSettings) -> Result<Self, Failure> {
        let wrong = |field: &str, what: String, action: &str| {
            Failure::new(Reason::InvalidArgument, what).on(format!("github.app.{field}")).action(action)
        };
        if settings.id.is_empty() {
            return Err(wrong("id", "github.app.id is empty".into(), "give the App's id or client id"));
        }
        let pem = match (&settings.private_key, &settings.private_key_path) {
            // Environment variables often carry line ends as two characters.
            (Some(key), None) => key.expose_secret().replace("\\n", "\n"),
            (None, Some(path)) => std::fs::read_to_string(path).map_err(|error| {
                let what = format!("the App's private key in {} cannot be read: {error}", path.display());
                wrong("private_key_path", what, "mount the key there, readable by the bot")
            })?,
            _ => {
                let what = "the App needs a private key: private_key or private_key_path, and not both".into();
                return Err(wrong("private_key", what, "generate one on the App's page and give it to the bot"));
            }
        };
        // What is wrong with it could show parts of it.
        let key = EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| {
            let what = "the App's private key is no RSA key in PEM".into();
            wrong("private_key", what, "give the .pem file as GitHub made it")
        })?;
        Ok(Self {
            issuer: settings.id.clone(),
            key,
            installation: settings.installation_id,
            installations: Mutex::default(),
            slots: Mutex::default(),
        })
    }

    /// The App's own statement. `now` is GitHub's time.
    pub(super) fn statement(&self, now: SystemTime) -> Result<HeaderValue, Failure> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let claims = Claims { iat: now.saturating_sub(EARLIER), exp: now + LIFE, iss: &self.issuer };
        let signed = jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &self.key)
            .map_err(|error| Failure::internal(format!("the App's statement cannot be signed: {error}")))?;
        bearer(&signed)
    }

    /// The installation of an account, if it is known.
    pub(super) fn installation(&self, account: &str) -> Option<u64> {
        let installations = self.installations.lock().unwrap_or_else(PoisonError::into_inner);
        self.installation.or_else(|| installations.get(&account.to_ascii_lowercase()).copied())
    }

    pub(super) fn installed(&self, account: &str, id: u64) {
        let mut installations = self.installations.lock().unwrap_or_else(PoisonError::into_inner);
        if installations.len() >= MOST {
            installations.clear();
        }
        installations.insert(account.to_ascii_lowercase(), id);
    }

    /// It is not there any more; whether another may be.
    pub(super) fn uninstalled(&self, account: &str) -> bool {
        let mut installations = self.installations.lock().unwrap_or_else(PoisonError::into_inner);
        installations.remove(&account.to_ascii_lowercase());
        self.installation.is_none()
    }

    pub(super) fn slot(&self, installation: u64) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MOST {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        Arc::clone(slots.entry(installation).or_default())
    }
}

/// `Authorization`, marked so that it is never printed.
pub(super) fn bearer(token: &str) -> Result<HeaderValue, Failure> {
    let mut header = HeaderValue::from_str(&format!("Bearer {}", token.trim())).map_err(|_| {
        Failure::new(Reason::InvalidArgument, "the token for github has characters that no token has")
            .on("github.token")
    })?;
    header.set_sensitive(true);
    Ok(header)
}
