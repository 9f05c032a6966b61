//! Inputs in the repository: good starting points, and what was once wrong.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::Target;

fn folder(target: Target) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name())
}

/// The files of a target with their names, sorted.
pub fn load(target: Target) -> Result<Vec<(String, Vec<u8>)>> {
    let folder = folder(target);
    let mut all = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        all.push((entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path())?));
    }
    all.sort();
    Ok(all)
}

/// Keeps an input that is wrong; the path.
pub fn keep(target: Target, input: &[u8]) -> Result<PathBuf> {
    let path = folder(target).join(format!("found-{}", hex::encode(&Sha256::digest(input)[..6])));
    std::fs::write(&path, input)?;
    Ok(path)
}
