//! Which keys there may be.

use kfops_core::{Failure, Reason};
use object_store::path::Path as Key;

use crate::Store;

/// Longest key with its prefix, in bytes (S3's limit).
const LONGEST: usize = 1024;

impl Store {
    /// A key as the store has it.
    pub(crate) fn key(&self, key: &str) -> Result<Key, Failure> {
        let whole = self.below(key)?;
        let last = whole.filename().unwrap_or_default();
        // A folder's name for what is not yet whole.
        let staged = last.split_once('#').is_some_and(|(_, n)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        if key.trim_matches('/').is_empty() {
            return Err(no_key(key, &"it is empty"));
        }
        if self.shared.root.is_some() && staged {
            return Err(no_key(key, &"in a folder it must not end in # and a number"));
        }
        if self.signer().is_some() && key.contains('\\') {
            return Err(no_key(key, &"some stores take its \\ for a /"));
        }
        Ok(whole)
    }

    /// The same for what keys begin with, which may be empty.
    pub(crate) fn below(&self, key: &str) -> Result<Key, Failure> {
        let inner = Key::parse(key).map_err(|error| no_key(key, &error))?;
        let whole = match (self.shared.prefix.as_ref(), inner.as_ref()) {
            ("", _) => inner,
            (_, "") => self.shared.prefix.clone(),
            (prefix, inner) => Key::parse(format!("{prefix}/{inner}")).map_err(|error| no_key(key, &error))?,
        };
        if whole.as_ref().len() > LONGEST {
            return Err(no_key(key, &format_args!("with its prefix it is longer than {LONGEST} bytes")));
        }
        Ok(whole)
    }
}

fn no_key(key: &str, why: &dyn std::fmt::Display) -> Failure {
    let plain = |text: String| text.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
    let text = format!("`{}` is no object key: {}", plain(key.to_owned()), plain(why.to_string()));
    Failure::new(Reason::InvalidArgument, text).on("key")
}
