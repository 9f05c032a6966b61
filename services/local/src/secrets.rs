//! Secrets of the local system: made once, kept readable by the user alone.

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use kfops_core::{Failure, Reason};
use rand::RngCore as _;
use serde::{Deserialize, Serialize};

/// What the parts of the local system authenticate with. Not printed: there is no Debug.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Secrets {
    /// Of the webhooks.
    pub(crate) webhook: String,
    /// Of the person at this machine, at the forge.
    pub(crate) user_token: String,
}

impl Secrets {
    /// Reads the file, or makes it.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let unusable = |error: &dyn std::fmt::Display| {
            Failure::new(Reason::StoreUnavailable, format!("{}: {error}", path.display()))
        };
        if path.exists() {
            let text = fs::read_to_string(path).map_err(|error| unusable(&error))?;
            return serde_json::from_str(&text).map_err(|error| unusable(&error));
        }
        let secrets = Self { webhook: random(), user_token: random() };
        let text = serde_json::to_vec(&secrets).map_err(Failure::internal)?;
        keep(path, &text).map_err(|error| unusable(&error))?;
        Ok(secrets)
    }
}

/// Writes a file whole or not at all, for the user alone.
pub(crate) fn keep(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

fn random() -> String {
    let mut bytes = [0u8; 20];
    rand::rng().fill_bytes(&mut bytes);
    hex::encode(bytes)
}
